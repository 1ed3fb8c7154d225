"""Keeping evidence when the domains change: added, removed or split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import StudyError
from mixopt.propose.evidence import Evidence
from mixopt.space import Mixture, Schedule, SearchSpace, geometry_of


def remap(
    evidence: Evidence,
    old: SearchSpace,
    new: SearchSpace,
    *,
    split: Mapping[str, Mapping[str, float]] | None = None,
) -> Evidence:
    """Rows of the old space as rows of a new one with other domains.

    A domain that is new had weight 0. A domain that is split passes its weight on in the shares
    given, those of its documents, since that is what its trials were fed. A trial that used a
    domain which is gone cannot be told in the new space and is left out.

    Args:
        evidence: In rows of ``old``.
        old: The space it was gathered in.
        new: With the same number of phases.
        split: Per domain of ``old``, the shares of the domains of ``new`` it became.

    Raises:
        StudyError: If the phases differ in number, a name is unknown, or no trial is left.
    """
    if len(old.phases) != len(new.phases):
        raise StudyError(
            f"evidence keeps its phases; got {len(old.phases)} and {len(new.phases)}",
            "change domains only",
        )
    moves = _moves(old.names, new, split or {})
    W, F = geometry_of(old).layout.split(evidence.X)
    rest = evidence.X[:, W[0].size :]
    if W[0].size // len(old.names) * len(new.names) + rest.shape[1] != geometry_of(new).layout.dim:
        raise StudyError(
            "evidence keeps its searched learning rates; the two spaces search different ones",
            "change domains only",
        )
    gone = np.asarray(~moves.any(axis=1))
    lost = (W[..., gone] * (F[..., None] > 1e-9) > 1e-9).any((1, 2))
    if lost.all():
        raise StudyError(
            "every trial used a domain that the new space has not: "
            f"{[n for n, g in zip(old.names, gone, strict=True) if g]}",
            "keep the domain, or say with `split` what it became",
        )
    kept = np.flatnonzero(~lost)
    flat = (W[kept] @ moves).reshape(len(kept), -1)
    X = np.hstack([flat, rest[kept]])
    return Evidence(X, evidence.Y[kept], evidence.metrics, tuple(evidence.ids[i] for i in kept))


def remap_schedule(
    schedule: Schedule,
    names: Sequence[str],
    new: SearchSpace,
    *,
    split: Mapping[str, Mapping[str, float]] | None = None,
) -> Schedule | None:
    """A schedule of an old space in the domains of a new one, by the rules of :func:`remap`.

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
