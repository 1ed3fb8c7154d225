"""What a schedule owes to one domain, to its order, and to its exposure.

Leaving a domain out of the ending is what Blakeney et al. (arXiv 2406.03476, section 5) do for
their math sets; a static run of the same exposure takes out the order and keeps the tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mixopt.errors import StudyError
from mixopt.space import Frozen, Mixture, Phase, Schedule
from mixopt.study.comparisons import OBJECTIVE, Effect, paired_effects

WITH, WITHOUT = "with", "without"
SCHEDULE, STATIC, BASE = "schedule", "static", "base"

Values = Mapping[str, Sequence[Mapping[str, float]]]


class Attribution(Frozen):
    """What a domain does in a schedule: with it minus without it.

    Attributes:
        domain: Its name.
        phase: Where it was left out; the whole run of a schedule of one phase.
        weight: Its weight there.
        schedule: With it.
        without: The other, its weights renormalised.
        effects: Per metric, and ``objective``; negative where the domain helps (nats/token).
    """

    domain: str
    phase: str
    weight: float
    schedule: Schedule
    without: Schedule
    effects: dict[str, Effect]


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


def without_domain(schedule: Schedule, domain: str) -> Schedule:
    """The schedule with a domain left out of its last phase and the other weights renormalised.

    Raises:
        StudyError: If the last phase has none of it, or nothing else.
    """
    last = schedule.phases[-1]
    if last.mixture.get(domain, 0.0) <= 0:
        used = [n for n, w in last.mixture.items() if w > 0]
        raise StudyError(
            f"the last phase must use the domain to be attributed; it gives {domain!r} no weight",
            f"it uses {', '.join(used)}",
        )
    rest = {n: w for n, w in last.mixture.items() if n != domain and w > 0}
    if not rest:
        raise StudyError(
            f"the last phase must hold more than the domain to be attributed; {domain!r} is all "
            "of it",
            "look at the controls of the schedule instead: mixopt controls",
        )
    changed = last.model_copy(update={"mixture": Mixture.normalized(rest)})
    return schedule.model_copy(update={"phases": (*schedule.phases[:-1], changed)})


def attribution_schedules(schedule: Schedule, domain: str) -> dict[str, Schedule]:
    """What is to be trained to attribute a domain; both share everything before the last phase."""
    return {WITH: schedule, WITHOUT: without_domain(schedule, domain)}


def attribution(schedules: Mapping[str, Schedule], domain: str, values: Values) -> Attribution:
    """The effect of a domain from finished runs.

    Args:
        schedules: Of ``attribution_schedules``.
        domain: The one left out.
        values: Per label and seed, metrics and ``objective``.

    Raises:
        StudyError: If fewer than two seeds finished on both sides.
    """
    last = schedules[WITH].phases[-1]
    return Attribution(
        domain=domain,
        phase=last.name,
        weight=last.mixture[domain],
        schedule=schedules[WITH],
        without=schedules[WITHOUT],
        effects=paired_effects(values[WITH], values[WITHOUT]),
    )


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
    phases = tuple(
        Phase(name=p.name, fraction=p.fraction, mixture=mixture, learning_rate=p.learning_rate)
        for p in schedule.phases
    )
    return schedule.model_copy(update={"phases": phases})


def controls(schedules: Mapping[str, Schedule], values: Values) -> Controls:
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
