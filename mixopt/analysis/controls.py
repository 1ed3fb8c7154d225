"""How much of a schedule's gain over its base mixture is exposure and how much order.

A static run of the same exposure takes out the order and keeps the tokens per domain.
"""

from __future__ import annotations

from collections.abc import Mapping

from mixopt.errors import StudyError
from mixopt.space import Frozen, Mixture, Schedule
from mixopt.space.effect import Effect
from mixopt.study.comparisons import OBJECTIVE, SeedValues, paired_effects

SCHEDULE, STATIC, BASE = "schedule", "static", "base"


class Controls(Frozen):
    """How much of a schedule's gain over its base mixture is exposure and how much order.

    ``total = exposure + order`` holds seed by seed.

    Attributes:
        schedule: In question.
        static: The same tokens per domain in one mixture.
        base: The base mixture to the end.
        total: Schedule minus base, per metric and ``objective``; negative is better.
        exposure: Static minus base: what the tokens alone bring.
        order: Schedule minus static: what their order brings.
        order_share: Order over total of the objective; None where the total is not clear of 0.
    """

    schedule: Schedule
    static: Schedule
    base: Schedule
    total: dict[str, Effect]
    exposure: dict[str, Effect]
    order: dict[str, Effect]
    order_share: float | None


def control_schedules(schedule: Schedule) -> dict[str, Schedule]:
    """The schedule, its base mixture to the end, and the static control of its exposure.

    Both controls have the learning rate of the schedule, step for step.

    Raises:
        StudyError: If the schedule has one mixture only.
    """
    if all(p.mixture == schedule.base for p in schedule.phases):
        raise StudyError(
            "controls compare the phases of a schedule; this one has a single mixture from start "
            "to end",
            "choose one with an ending: --fraction 0.2",
        )
    return {
        SCHEDULE: schedule,
        BASE: with_mixture(schedule, schedule.base),
        STATIC: with_mixture(schedule, schedule.exposure()),
    }


def with_mixture(schedule: Schedule, mixture: Mixture) -> Schedule:
    """One mixture from start to end, at the learning rates of a schedule."""
    if all(p.learning_rate is None for p in schedule.phases):
        return Schedule.static(mixture, schedule.learning_rate)
    phases = tuple(p.model_copy(update={"mixture": mixture}) for p in schedule.phases)
    return schedule.model_copy(update={"phases": phases})


def controls(schedules: Mapping[str, Schedule], values: SeedValues) -> Controls:
    """Split a gain into exposure and order, from finished runs.

    Raises:
        StudyError: If fewer than two seeds finished on both sides of a comparison.
    """
    total = paired_effects(values[SCHEDULE], values[BASE])
    order = paired_effects(values[SCHEDULE], values[STATIC])
    whole = total[OBJECTIVE]
    return Controls(
        schedule=schedules[SCHEDULE],
        static=schedules[STATIC],
        base=schedules[BASE],
        total=total,
        exposure=paired_effects(values[STATIC], values[BASE]),
        order=order,
        order_share=order[OBJECTIVE].mean / whole.mean if whole.clear else None,
    )
