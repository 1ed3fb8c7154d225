"""Seeds of trials: a few blocks, in which all trials share initial weights and order of data.

The difference of two mixtures is surer when both were trained with one seed (common random
numbers), and endings of one trunk need one seed to share it at all. But a search on a single seed
finds what is best for that seed, and no interval of an absolute loss can contain what a single seed
hides. So trials are spread over a few seeds, and the surrogate learns the effect of each
(`StudyState.seed_groups`). Confirmation runs have fresh seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mixopt.space import Fidelity, Schedule, geometry_of
from mixopt.study.config import derived_seed
from mixopt.study.state import StudyState, base_key

#: Endings of one base mixture from which two trunks are worth their cost in any case.
ENOUGH = 4


class _Run(NamedTuple):
    """A trial as far as its block depends on it."""

    block: int
    base: str
    ending: float
    row: tuple[float, ...]
    fidelity: Fidelity


def trunks_worth(endings: Sequence[float], most: int) -> int:
    """How many trunks endings that share a base mixture should be spread over.

    Args:
        endings: Per trial, the share of its tokens after the base phase.
        most: Blocks there are.

    Returns:
        1 for fewer than four trials, else 2 or more: as many as keep the tokens of the trunks at
        most about those of the endings.
    """
    if len(endings) < ENOUGH:
        return 1
    return min(max(int(sum(endings) / (1 - min(endings))), 2), most)


def trial_seeds(
    state: StudyState, names: Sequence[str], placed: Sequence[tuple[Schedule, Fidelity]]
) -> Iterator[int]:
    """The seed of each run, in order: of the block with the fewest trials that it may be in.

    A run on a base mixture that a trial has is in that trial's block, where its trunk is. Only a
    base that the space fixes is trained in several. A schedule is repeated in a block that has not
    seen it, and with a seed of its own where all have.

    Args:
        state: The trials so far.
        names: Ids of the new ones.
        placed: Their schedules and fidelities.
    """
    seeds = state.block_seeds
    runs = [
        _run(state, seeds.index(r.trial.seed), r.trial.schedule, r.trial.fidelity)
        for r in state.search
        if r.trial.seed in seeds
    ]
    for name, (schedule, fidelity) in zip(names, placed, strict=True):
        new = _run(state, 0, schedule, fidelity)
        alike = [r for r in runs if r.fidelity == fidelity]
        size = [sum(r.block == b for r in alike) for b in range(len(seeds))]
        open_blocks = _open_blocks(state, new, alike, len(seeds))
        if not open_blocks:
            yield derived_seed(state.seed, "trial", name)
            continue
        block = min(open_blocks, key=lambda b: (size[b], b))
        runs.append(new._replace(block=block))
        yield seeds[block]


def _run(state: StudyState, block: int, schedule: Schedule, fidelity: Fidelity) -> _Run:
    row = tuple(geometry_of(state.space).encode(schedule).round(8).tolist())
    ending = 1.0 - schedule.phases[0].fraction if len(schedule.phases) > 1 else 0.0
    return _Run(block, base_key(schedule), ending, row, fidelity)


def _open_blocks(state: StudyState, new: _Run, runs: Sequence[_Run], blocks: int) -> list[int]:
    """The blocks that a run may be in; none where each has run its schedule already."""
    same = {r.block for r in runs if r.row == new.row}
    if same:
        return [b for b in range(blocks) if b not in same]
    trunk = [r for r in runs if r.base == new.base]
    if state.space.phases[0].fixed is None:
        return sorted({r.block for r in trunk}) or list(range(blocks))
    # A run that stays on the base is in the first block: endings there differ by the ending alone.
    endings = [r.ending for r in [*trunk, new] if r.ending > 0]
    return list(range(trunks_worth(endings, blocks))) if new.ending > 0 else [0]
