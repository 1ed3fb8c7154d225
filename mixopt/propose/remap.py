"""Keeping schedules when the domains change: added, removed or split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import StudyError
from mixopt.space import Mixture, Schedule, SearchSpace


def remap_schedule(
    schedule: Schedule,
    names: Sequence[str],
    new: SearchSpace,
    *,
    split: Mapping[str, Mapping[str, float]] | None = None,
) -> Schedule | None:
    """A schedule of an old space in the domains of a new one.

    A domain that is new has weight 0. A domain that is split passes its weight on in the shares
    given, those of its documents, since that is what its trials were fed. A schedule that used a
    domain which is gone cannot be told in the new space.

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
