"""How long a run will take at most, from the trials that it has run."""

from __future__ import annotations

import sys

from mixopt.study.state import StudyState

# Confirmed and controlled schedules of one recommendation, at most.
CHECKED = 4


def seconds_left(state: StudyState, slots: int, idle: float = 0.0) -> float | None:
    """Wall seconds of the trials that the budget still pays for, and of the confirmation runs.

    A search may stop earlier.

    Args:
        state: The study now.
        slots: Trials at a time.
        idle: Slot-seconds per trial in which none ran, as while trials are proposed.

    Returns:
        None where no total of the budget says how many trials follow, or none is finished.
    """
    time, settings = state.device_time, state.settings
    each, top = time.seconds(state.config.cheapest), time.seconds(state.fidelity)
    if settings.budget is None or each is None or top is None:
        return None
    follow = settings.budget.affordable(state.spent, sys.maxsize, time.cost(state.config.cheapest))
    if follow == sys.maxsize:
        return None
    still = [r for r in state.records if r.open]
    checks = sum(not r.search for r in state.records) or CHECKED * settings.confirm_seeds
    over = sum(not r.search and not r.open for r in state.records)
    search = sum(time.seconds_of(r) for r in still if r.search) + follow * each
    trials = sum(r.search for r in still) + follow + checks - over
    return (search + (checks - over) * top + trials * idle) / slots
