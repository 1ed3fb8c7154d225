"""A study's next round, from a snapshot and the seed alone: which schedules, and who runs where.

Where trials differ in fidelity, rounds are spread over the fidelities by what a run tells of the
target per FLOP, and a few runs are always bought at the highest one that can be paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mixopt.space import Fidelity, Kind, Schedule, Trial, geometry_of
from mixopt.study.cost import trunk_sharing
from mixopt.study.seed_blocks import trial_seeds
from mixopt.study.state import StudyState
from mixopt.study.storage import State

if TYPE_CHECKING:
    from mixopt.propose import Evidence
    from mixopt.surrogate import SurrogateModel

#: Finished trials from which a surrogate can be fitted.
LEAST = 2
#: Share of the initial design that has finished before proposals roll: from fewer results they are
#: worse than a round's at the same number of trials, and more would let slots stand idle
#: (``benchmarks/rolling.py``).
ROLLS_FROM = 0.75

#: A schedule and where it is run.
Placed = tuple[Schedule, Fidelity]


def next_round(
    state: StudyState,
    n: int | None,
    learned: Callable[[], tuple[Evidence, SurrogateModel]],
) -> list[Trial]:
    """The trials of the next round; none where the budget pays for none.

    Args:
        state: All its trials so far must be over.
        n: Size of the round after the initial design; None for the study's batch.
        learned: Gives the evidence and its surrogate; called where schedules are proposed.
    """
    kind, size = next_size(state, n)
    if size < 1:
        return []
    placed = (
        initial_runs(state, size)
        if kind == Kind.initial
        else proposed_runs(state, *learned(), size)
    )
    return numbered(state, kind, placed)


def enough_beside(state: StudyState) -> bool:
    """Whether enough trials have finished to propose one beside those that run."""
    rolling = state.settings.batch == "rolling"
    least = int(ROLLS_FROM * state.config.initial) if rolling else LEAST
    return len(state.learned_from) >= max(least, LEAST)


def next_size(state: StudyState, n: int | None) -> tuple[Kind, int]:
    """What the next round is, and how many trials of it the budget pays for.

    The initial design is drawn again, at what it lacks, while too few trials have finished to
    learn from.

    Args:
        state: All its trials so far must be over.
        n: Size of the round after the initial design; None for the study's batch.
    """
    known = len(state.learned_from)
    missing = state.config.initial - known
    kind, wanted = Kind.proposed, n or state.settings.round_size
    if (not state.search and missing > 0) or known < LEAST:
        kind, wanted = Kind.initial, max(missing, LEAST - known)
    budget = state.settings.budget
    if budget is None:
        return kind, wanted
    return kind, budget.affordable(
        state.spent, wanted, state.device_time.cost(state.config.cheapest)
    )


def initial_runs(state: StudyState, size: int) -> list[Placed]:
    """An initial design of so many trials; it begins with what no trial has shown yet."""
    from mixopt.propose import initial_design

    distinct = size - _repeats(state, size)[1]
    seen = [t.schedule for t in state.learned_from]
    first = [s for s in _first(state) if s not in seen][:distinct]
    design = initial_design(state.space, distinct, seed=state.round_seed, include=first)
    return _place_initial(state, design, size)


def _repeats(state: StudyState, trials: int) -> tuple[int, int]:
    """Schedules repeated at the highest fidelity, and all repetitions."""
    from mixopt.propose.fidelity_choice import HIGH_SHARE, high_count

    many = len(state.config.fidelities)
    if many < 2:
        return 0, 0
    # Three schedules run at both are the least that a rank agreement can be told from.
    top = min(max(high_count(trials, HIGH_SHARE), 3), max(trials // 3, 1))
    middle = min(many - 2, max(trials - 2 * top, 0))
    return top, min(top + middle, trials - 1)


def _place_initial(state: StudyState, schedules: Sequence[Schedule], trials: int) -> list[Placed]:
    """The design at the cheapest fidelity, its first schedules at the others too.

    Pairs say how one fidelity goes over into another; the baseline is run at every one.
    """
    sizes = state.config.fidelities
    if not sizes:
        return [(s, state.fidelity) for s in schedules]
    top, extra = _repeats(state, trials)
    pairs = [(schedules[i % len(schedules)], sizes[-1]) for i in range(min(top, extra))]
    pairs += [(schedules[0], size) for size in sizes[1:-1][: extra - len(pairs)]]
    # The pairs come first after the baseline, so that a short budget cuts single runs.
    first = (schedules[0], sizes[0])
    return _paid(state, [first, *pairs, *((s, sizes[0]) for s in schedules[1:])])


def proposed_runs(
    state: StudyState, evidence: Evidence, surrogate: SurrogateModel, size: int
) -> list[Placed]:
    """The schedules that the surrogate proposes; none that is like one that failed."""
    from mixopt.propose import propose_batch

    replicates = state.settings.replicates
    schedules = propose_batch(
        state.space,
        state.objective,
        surrogate,
        evidence,
        size,
        pending=[r.trial.schedule for r in state.search if r.open or r.state == State.failed],
        seed=state.round_seed,
        replicates="auto" if replicates == "auto" else min(replicates, size),
        sharing=trunk_sharing(state),
    )
    return _place_proposed(state, surrogate, schedules)


def _place_proposed(
    state: StudyState, surrogate: SurrogateModel, schedules: Sequence[Schedule]
) -> list[Placed]:
    """Each proposed schedule at the fidelity that tells most of the target per FLOP."""
    from mixopt.propose.fidelity_choice import choose_fidelities
    from mixopt.surrogate import ScaleSurrogate

    if not isinstance(surrogate, ScaleSurrogate):
        return [(s, state.fidelity) for s in schedules]
    budget = state.settings.budget
    left = budget.left(state.spent).get("flops", np.inf) if budget else np.inf
    sizes = choose_fidelities(
        state.space,
        state.objective,
        surrogate,
        schedules,
        state.config.fidelities,
        cost=lambda _schedule, fidelity: state.settings.flops(fidelity),
        left=float(left),
    )
    return _paid(state, list(zip(schedules, sizes, strict=False)), step_down=True)


def _paid(state: StudyState, placed: Sequence[Placed], step_down: bool = False) -> list[Placed]:
    """Those of the runs, in this order, that the budget still pays for.

    Args:
        state: Has the budget.
        placed: The runs wanted.
        step_down: Whether a run that cannot be paid for is made at a cheaper fidelity.
    """
    budget, cost = state.settings.budget, state.device_time.cost
    spent, kept = state.spent, []
    if budget is None:
        return list(placed)
    for schedule, size in placed:
        below = [f for f in state.config.fidelities[::-1] if f.flops < size.flops and step_down]
        paid = next((f for f in (size, *below) if budget.affordable(spent, 1, cost(f))), None)
        if paid is not None:
            spent = spent.plus(cost(paid))
            kept.append((schedule, paid))
    return kept


def numbered(state: StudyState, kind: Kind, placed: Sequence[Placed]) -> list[Trial]:
    """The runs of a round as trials, with ids and seeds."""
    number = state.rounds
    ids = [f"r{number:02d}-t{index:02d}" for index in range(len(placed))]
    return [
        Trial(id=name, round=number, kind=kind, schedule=schedule, fidelity=fidelity, seed=seed)
        for name, seed, (schedule, fidelity) in zip(
            ids, trial_seeds(state, ids, placed), placed, strict=True
        )
    ]


def _first(state: StudyState) -> list[Schedule]:
    """What every study begins with: the baseline, and the schedule that matches the objective."""
    from mixopt.propose import NEAR, matched_schedule, schedule_distance

    space, baseline = state.space, state.space.baseline_schedule
    matched = matched_schedule(space, state.objective)
    if matched is None:
        return [baseline]
    geometry = geometry_of(space)
    rows = [geometry.encode(schedule)[None] for schedule in (baseline, matched)]
    apart = schedule_distance(geometry.layout, *rows)[0, 0]
    return [baseline, matched] if apart >= NEAR else [baseline]
