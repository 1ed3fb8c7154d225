"""Old trials into a new study whose domains were added, removed or split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import MixoptError, StudyError
from mixopt.space import Mixture, Schedule, SearchSpace
from mixopt.space.written_numbers import read_number
from mixopt.study.config import StudyConfig, differences, essential
from mixopt.study.results.recording import Attachment, attachment
from mixopt.study.state import StudyState


@dataclass(frozen=True)
class Inherited:
    """What became of the old study's finished trials.

    Attributes:
        attached: Ids in the new study.
        left_out: Per old id, why it cannot be told in the new space.
        differs: What else the results depend on and is not the same in both studies: the text, the
            trainer, the size of the runs.
    """

    attached: tuple[str, ...]
    left_out: dict[str, str]
    differs: tuple[str, ...]


def plan_inheritance(
    config: StudyConfig, old: StudyState, *, split: Mapping[str, Mapping[str, float]] | None = None
) -> tuple[list[Attachment], Inherited]:
    """The finished trials of an old study as runs of one over other domains; nothing is stored.

    A domain that is new had weight 0 in them. One that was split passes its weight on in the shares
    given, those of its documents, since that is what its trials were fed. A trial that used a
    domain which is gone is left out.

    Args:
        config: Of the new study.
        old: Of the old study.
        split: Per old domain, the shares of the new domains it became (one share of 1 renames it).

    Raises:
        StudyError: If a name of the split is unknown, the old study lacks a metric of the new
            objective, its runs have another fidelity than a study of one, or no trial can be kept.
    """
    found: list[Attachment] = []
    left_out: dict[str, str] = {}
    for trial in old.finished:
        moved = remap_schedule(trial.schedule, old.space.names, config.space, split=split)
        if moved is None:
            known, exposure = {*config.space.names, *(split or {})}, trial.schedule.exposure()
            gone = [n for n in old.space.names if exposure.get(n, 0.0) > 0 and n not in known]
            left_out[trial.id] = f"it used {', '.join(gone)}"
            continue
        name = f"{old.name}-{trial.id}"
        found.append(attachment(config, moved, old.finals[trial.id], trial.fidelity, name))
    if not found:
        raise StudyError(
            f"no trial of the study {old.name!r} can be kept: "
            f"{left_out or 'it has no finished one'}",
            "say with a split what became of the domains that are gone",
        )
    before = {"fidelity": old.fidelity.model_dump(), **essential(old.config.context)}
    now = {"fidelity": config.fidelity.model_dump(), **essential(config.context)}
    ids = tuple(run.id for run, _ in found)
    return found, Inherited(ids, left_out, tuple(differences(before, now)))


def remap_schedule(
    schedule: Schedule,
    names: Sequence[str],
    new: SearchSpace,
    *,
    split: Mapping[str, Mapping[str, float]] | None = None,
) -> Schedule | None:
    """A schedule of an old space in the domains of a new one.

    Args:
        schedule: It may name the old space's domains only.
        names: Of the old space's domains.
        new: The new space.
        split: Per old domain, the shares of the new domains it became.

    Returns:
        The schedule; None where it used a domain that is gone.

    Raises:
        StudyError: If the split names an unknown domain.
    """
    moves = _moves(names, new, split or {})
    gone = {n for n, row in zip(names, moves, strict=True) if not row.any()}
    if any(phase.mixture.get(n, 0.0) > 0 for phase in schedule.phases for n in gone):
        return None
    phases = [
        phase.model_copy(
            update={"mixture": Mixture.from_array(new.names, phase.mixture.to_array(names) @ moves)}
        )
        for phase in schedule.phases
    ]
    return schedule.model_copy(update={"phases": tuple(phases)})


def _moves(
    old: Sequence[str], new: SearchSpace, split: Mapping[str, Mapping[str, float]]
) -> NDArray[np.float64]:
    """``d_old x d_new``: where each old domain's weight goes; a row of zeros if nowhere."""
    unknown = [n for n in split if n not in old]
    unknown += [n for parts in split.values() for n in parts if n not in new.names]
    if unknown:
        raise StudyError(
            f"a split must lead from old domains to new ones; {unknown} are neither",
            f"old are {list(old)}, new are {list(new.names)}",
        )
    moves = np.zeros((len(old), len(new.names)))
    for i, name in enumerate(old):
        if name in split:
            moves[i] = Mixture(split[name], f"the split of {name!r}").to_array(new.names)
        elif name in new.names:
            moves[i, new.names.index(name)] = 1.0
    return moves


def _number(text: str) -> Any:
    """A number, or the text that is none, for who checks it."""
    number = read_number(text)
    return text if number is None else number


def parse_split(parts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Read ``OLD=NEW:SHARE,NEW:SHARE`` parts; a lone NEW has all the weight.

    Raises:
        StudyError: If a part is not of that form, or its shares do not sum to 1.
    """
    split: dict[str, dict[str, float]] = {}
    for part in parts:
        old, _, became = part.partition("=")
        pieces = [piece.rpartition(":") for piece in became.split(",")]
        shares = {name or share: share if name else "1" for name, _, share in pieces}
        try:
            if not old or "" in shares:
                raise StudyError("a name is empty")
            split[old] = dict(Mixture({n: _number(s) for n, s in shares.items()}))
        except MixoptError as error:
            raise StudyError(
                f"--split takes OLD=NEW:SHARE,NEW:SHARE with shares that sum to 1; got {part!r} "
                f"({error.message})",
                "write --split web=science:0.3,news:0.7",
            ) from None
    return split
