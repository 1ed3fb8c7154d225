"""Peak and warm-up of the last phase, searched over levels once its data are chosen.

Every level branches off the same trunk, so a grid costs its endings only. What is reported is the
paired difference from the schedule as it is; it is changed only where a level is clearly better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mixopt.advice import Advice, advise
from mixopt.errors import StudyError
from mixopt.space import Frozen, LearningRate, Schedule
from mixopt.space.effect import Effect
from mixopt.study.comparisons import OBJECTIVE, SeedValues, paired_effects

AS_IS = "as it is"


class RateChoice(Frozen):
    """One peak and warm-up of the last phase.

    Attributes:
        label: ``peak × 0.5, warm-up 1 %``.
        schedule: With this rule.
        effects: Against the schedule as it is, per metric and ``objective``; negative is better.
        advice: What is known of such a rule.
    """

    label: str
    schedule: Schedule
    effects: dict[str, Effect]
    advice: tuple[Advice, ...]


class Rates(Frozen):
    """Levels tried, and what to train with.

    Attributes:
        choices: Best objective first.
        schedule: The best level where it is clearly better, the number of levels allowed for
            (Bonferroni), else the schedule as it was.
        changed: Whether it is another.
    """

    choices: tuple[RateChoice, ...]
    schedule: Schedule
    changed: bool


def rate_schedules(
    schedule: Schedule, factors: Sequence[float], warmups: Sequence[float], peak: float
) -> dict[str, Schedule]:
    """The schedule as it is, and with every peak and warm-up in its last phase.

    A rule rises from the rate at which the phase before ended to ``factor`` times the peak, and
    falls over the rest of the phase to the rate at which the schedule ends now.

    Args:
        schedule: Of two phases or more.
        factors: Peaks of the last phase over the run's.
        warmups: Shares of the last phase spent rising.
        peak: The run's peak, where its rules name none.

    Raises:
        StudyError: If the schedule has one phase, or a level is out of range.
    """
    if len(schedule.phases) < 2:
        raise StudyError(
            "the rate of a last phase is searched; this schedule has one phase",
            "choose one with an ending: --fraction 0.2",
        )
    if not factors or not warmups or min(factors) <= 0 or not 0 <= min(warmups) <= max(warmups) < 1:
        raise StudyError(
            f"peaks must be positive and warm-ups shares from 0 to below 1; got {list(factors)} "
            f"and {list(warmups)}",
            "peaks 0.5 1 2 and warm-ups 0 0.01 0.02 are usual",
        )
    last = schedule.phases[-1]
    before = _rate(schedule, 1 - last.fraction - 1e-9, peak)
    end = _rate(schedule, 1.0, peak)
    tail = last.learning_rate or schedule.learning_rate or LearningRate()
    top = tail.peak or peak
    made = {AS_IS: schedule}
    for factor in factors:
        for warmup in warmups:
            rule = LearningRate(
                peak=factor * top,
                warmup=warmup,
                start=min(before / (factor * top), 1.0),
                decay=1 - warmup,
                shape=tail.shape,
                final=min(end / (factor * top), 1.0),
            )
            label = f"peak × {factor:g}, warm-up {100 * warmup:g} %"
            made[label] = schedule.with_last(learning_rate=rule)
    return made


def _rate(schedule: Schedule, progress: float, peak: float) -> float:
    factor, own = schedule.rate_factor(progress)
    return factor * (own or peak)


def rates(schedules: Mapping[str, Schedule], values: SeedValues, sign: float = 1.0) -> Rates:
    """Levels against the schedule as it is, from finished runs.

    Args:
        schedules: Of ``rate_schedules``.
        values: Per label and seed, metrics and ``objective``.
        sign: -1 where the objective is to be maximised.

    Raises:
        StudyError: If fewer than two seeds of a level finished.
    """
    choices = sorted(
        (
            RateChoice(
                label=label,
                schedule=schedule,
                effects=paired_effects(values[label], values[AS_IS]),
                advice=advise(schedule),
            )
            for label, schedule in schedules.items()
            if label != AS_IS
        ),
        key=lambda c: sign * c.effects[OBJECTIVE].mean,
    )
    # The best of many looks better than it is: its interval is as wide as for all at once.
    level = 1 - 0.05 / len(choices)
    strict = paired_effects(values[choices[0].label], values[AS_IS], level)
    gap = strict[OBJECTIVE]
    better = gap.high < 0 if sign > 0 else gap.low > 0
    chosen = choices[0].schedule if better else schedules[AS_IS]
    return Rates(choices=tuple(choices), schedule=chosen, changed=better)
