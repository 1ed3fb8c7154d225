"""A new study over changed domains that keeps what an old one has learned."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mixopt.errors import MixoptError, StudyError
from mixopt.space import Kind, Mixture
from mixopt.study.config import differences

if TYPE_CHECKING:
    from mixopt.study.study import Study


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


def inherit(
    study: Study, old: Study, *, split: Mapping[str, Mapping[str, float]] | None = None
) -> Inherited:
    """Attach the finished trials of an old study to one over other domains.

    A domain that is new had weight 0 in them. One that was split passes its weight on in the shares
    given, those of its documents, since that is what its trials were fed. A trial that used a
    domain which is gone is left out. Doing it again does nothing; trials that the old study
    finished since are added.

    Args:
        study: The new one.
        old: The old one; it is only read.
        split: Per old domain, the shares of the new domains it became (one share of 1 renames it).

    Raises:
        StudyError: If the studies are the same, a name of the split is unknown, the old study lacks
            a metric of the new objective, or no trial can be kept.
    """
    from mixopt.propose import remap_schedule

    shared = study.store is old.store
    shared |= study.store.url == old.store.url and not study.store.in_memory
    if shared and study.name == old.name:
        raise StudyError(
            f"a study cannot inherit from itself; both are {study.name!r}",
            "give the new study another name or storage",
        )
    checks = (Kind.confirmation, Kind.comparison)
    values = old.final_values()
    attached: list[str] = []
    left_out: dict[str, str] = {}
    for record in old.records():
        trial = record.trial
        if trial.id not in values or trial.kind in checks:
            continue
        moved = remap_schedule(trial.schedule, old.space.names, study.space, split=split)
        if moved is None:
            gone = _gone(study, old, trial.schedule.exposure(), split or {})
            left_out[trial.id] = f"it used {', '.join(gone)}"
            continue
        found = values[trial.id]
        name = f"{old.name}-{trial.id}"
        attached.append(study.attach(moved, found, fidelity=trial.fidelity, trial=name))
    if not attached:
        raise StudyError(
            f"no trial of the study {old.name!r} can be kept: "
            f"{left_out or 'it has no finished one'}",
            "say with a split what became of the domains that are gone",
        )
    return Inherited(tuple(attached), left_out, tuple(_differs(study, old)))


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
            split[old] = dict(Mixture({n: float(s) for n, s in shares.items()}))
        except (ValueError, MixoptError) as error:
            reason = error.message if isinstance(error, MixoptError) else str(error)
            raise StudyError(
                f"--split takes OLD=NEW:SHARE,NEW:SHARE with shares that sum to 1; got {part!r} "
                f"({reason})",
                "write --split web=science:0.3,news:0.7",
            ) from None
        if not old or "" in shares:
            raise StudyError(
                f"--split takes OLD=NEW:SHARE,NEW:SHARE; got {part!r}",
                "write --split web=science:0.3,news:0.7",
            )
    return split


def _gone(study: Study, old: Study, exposure: Mixture, split: Collection[str]) -> list[str]:
    known = {*study.space.names, *split}
    return [n for n in old.space.names if exposure.get(n, 0.0) > 0 and n not in known]


def _differs(study: Study, old: Study) -> list[str]:
    before = {"fidelity": old.fidelity.model_dump(), **old.config.context}
    now = {"fidelity": study.fidelity.model_dump(), **study.config.context}
    return list(differences(before, now))
