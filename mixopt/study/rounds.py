"""A study's next round, from a snapshot and the seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from mixopt.space import Kind, Schedule, Trial, geometry_of
from mixopt.study.config import derived_seed
from mixopt.study.cost import trunk_sharing
from mixopt.study.fidelity_placement import Placed, distinct_initial, place_initial, place_proposed
from mixopt.study.seed_blocks import trial_seeds
from mixopt.study.state import StudyState
from mixopt.study.storage import State

if TYPE_CHECKING:
    from mixopt.propose import Evidence
    from mixopt.surrogate import ScaleSurrogate, Surrogate

#: Finished trials from which a surrogate can be fitted.
LEAST = 2


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
    if (not state.search and missing > 0) or known < LEAST:
        return Kind.initial, _affordable(state, max(missing, LEAST - known))
    return Kind.proposed, _affordable(state, n or state.settings.batch)


def _affordable(state: StudyState, wanted: int) -> int:
    budget = state.settings.budget
    if budget is None:
        return wanted
    return budget.affordable(state.spent, wanted, state.config.cheapest, state.settings.flops)


def initial_runs(state: StudyState, size: int) -> list[Placed]:
    """An initial design of so many trials; it begins with what no trial has shown yet."""
    from mixopt.propose import initial_design

    distinct = distinct_initial(state, size)
    seen = [t.schedule for t in state.learned_from]
    first = [s for s in _first(state) if s not in seen][:distinct]
    design = initial_design(state.space, distinct, seed=_round_seed(state), include=first)
    return place_initial(state, design, size)


def proposed_runs(
    state: StudyState, evidence: Evidence, surrogate: Surrogate | ScaleSurrogate, size: int
) -> list[Placed]:
    """The schedules that the surrogate proposes; none that is like one that failed."""
    from mixopt.propose import propose_batch

    schedules = propose_batch(
        state.space,
        state.objective,
        surrogate,
        evidence,
        size,
        pending=[r.trial.schedule for r in state.search if r.state == State.failed],
        seed=_round_seed(state),
        replicates=_replicates(state, size),
        sharing=trunk_sharing(state),
    )
    return place_proposed(state, surrogate, schedules)


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


def _round_seed(state: StudyState) -> int:
    return derived_seed(state.seed, "round", str(state.rounds))


def _replicates(state: StudyState, size: int) -> int | Literal["auto"]:
    wanted = state.settings.replicates
    return "auto" if wanted == "auto" else min(wanted, size)


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
