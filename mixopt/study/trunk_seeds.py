"""Seeds of trials that branch off a shared trunk.

Endings of one trunk share its run-to-run noise: they are cheap, and their differences are exact,
but no interval of an absolute loss can contain what a single trunk hides. So where the space fixes
the base mixture, trials are spread over two or three trunk seeds, as far as the trunks cost no more
than the endings. Where the base is free, trunks differ in their mixtures, each with a seed of its
own, and an ending that was chosen because its trunk is trained already must find it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mixopt.space import Fidelity, Schedule
from mixopt.study.config import derived_seed
from mixopt.study.state import StudyState, trunk_key

#: Trunk seeds of one base mixture at most.
MOST = 3
#: Endings of one base mixture from which two trunk seeds are worth their cost in any case.
ENOUGH = 4


def trunk_seed(seed: int, base: str, block: int) -> int:
    """The seed of one of the trunks on a base mixture.

    Args:
        seed: Of the study.
        base: The base mixture as text.
        block: Which trunk, from 0.
    """
    return derived_seed(seed, "trunk", base, *([str(block)] if block else []))


def trunks_worth(endings: Sequence[float]) -> int:
    """How many trunk seeds trials that share a base mixture should be spread over.

    Args:
        endings: Per trial, the share of its tokens after the base phase.

    Returns:
        1 for fewer than four trials, else 2 or 3: as many as keep the tokens of the trunks at
        most about those of the endings.
    """
    if len(endings) < ENOUGH:
        return 1
    return min(max(int(sum(endings) / (1 - min(endings))), 2), MOST)


def trunk_seeds(state: StudyState, placed: Sequence[tuple[Schedule, Fidelity]]) -> Iterator[int]:
    """The seed of each run, in order: of the trunk with the fewest trials so far.

    A schedule that stays on its base mixture has the seed of the first trunk, so that endings of
    that trunk differ from it by the ending alone.
    """
    used: dict[tuple[str, Fidelity], list[list[float]]] = {}
    for record in state.search:
        trial = record.trial
        base = trunk_key(trial.schedule)
        for block in range(MOST):
            if trial.seed == trunk_seed(state.seed, base, block) and _ending(trial.schedule) > 0:
                blocks = used.setdefault((base, trial.fidelity), [[] for _ in range(MOST)])
                blocks[block].append(_ending(trial.schedule))
    for schedule, fidelity in placed:
        base, ending = trunk_key(schedule), _ending(schedule)
        blocks = used.setdefault((base, fidelity), [[] for _ in range(MOST)])
        worth = trunks_worth([e for block in blocks for e in block] + [ending])
        spread = ending > 0 and state.space.phases[0].fixed is not None
        block = min(range(worth), key=lambda b: (len(blocks[b]), b)) if spread else 0
        if ending > 0:
            blocks[block].append(ending)
        yield trunk_seed(state.seed, base, block)


def _ending(schedule: Schedule) -> float:
    return 1.0 - schedule.phases[0].fraction if len(schedule.phases) > 1 else 0.0
