"""What a domain does in a schedule: runs with it and without it.

Leaving a domain out of the ending is what Blakeney et al. (arXiv 2406.03476, section 5) do for
their math sets.
"""

from __future__ import annotations

from collections.abc import Mapping

from mixopt.errors import StudyError
from mixopt.space import Frozen, Mixture, Schedule
from mixopt.space.effect import Effect
from mixopt.study.comparisons import SeedValues, paired_effects

WITH, WITHOUT = "with", "without"


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
    return schedule.with_last(mixture=Mixture.normalized(rest))


def attribution_schedules(schedule: Schedule, domain: str) -> dict[str, Schedule]:
    """What is to be trained to attribute a domain; both share everything before the last phase."""
    return {WITH: schedule, WITHOUT: without_domain(schedule, domain)}


def attribution(schedules: Mapping[str, Schedule], domain: str, values: SeedValues) -> Attribution:
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
