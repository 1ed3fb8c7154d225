"""What is known about switching data and learning rates, held against a schedule.

Sources: Gupta et al., arXiv 2308.04014 (re-warming); Ibrahim et al., arXiv 2403.08763 (replay,
infinite schedules); Blakeney et al., arXiv 2406.03476 (upsampling at the end).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from mixopt.space.frozen import Frozen
from mixopt.space.mixture import Mixture
from mixopt.space.schedule import Phase, Schedule

SAME = 0.02
STRONG = 0.5
LOW_RATE = 0.5
SMALL_BUDGET = 0.05
REPLAY = {"weak": 0.05, "strong": 0.25}

Shift = Literal["same", "weak", "strong"]


class Advice(Frozen):
    """One sentence about a schedule.

    Attributes:
        level: ``warning`` where the schedule goes against what was measured, else ``note``.
        phase: The phase it is about.
        message: What, with the figure behind it.
        source: Where the figure comes from.
    """

    level: Literal["warning", "note"]
    phase: str
    message: str
    source: str


def distance(one: Mixture, other: Mixture) -> float:
    """Total variation, 0 to 1: the share of tokens that would have to change domain."""
    names = {*one, *other}
    return 0.5 * sum(abs(one.get(n, 0.0) - other.get(n, 0.0)) for n in names)


def shift_between(old: Mixture, new: Mixture) -> Shift:
    """How far training moves: by total variation, under .02 the same, over .5 strong."""
    moved = distance(old, new)
    return "same" if moved < SAME else "strong" if moved > STRONG else "weak"


def advise(
    schedule: Schedule,
    *,
    pretrained_on: Mixture | None = None,
    pretrained_tokens: int | None = None,
    tokens: int | None = None,
) -> tuple[Advice, ...]:
    """Hold a schedule against what is known; nothing is changed.

    Args:
        schedule: The schedule.
        pretrained_on: What the base checkpoint saw last, for continual pretraining.
        pretrained_tokens: How many tokens it saw.
        tokens: How many the schedule has.

    Returns:
        Warnings first, then notes.
    """
    found: list[Advice] = []
    rates = _phase_rates(schedule)
    peak = max(max(r) for r in rates)
    # A base checkpoint is taken to have ended at the usual tenth of its peak.
    before, level = pretrained_on, 0.1
    for phase, run in zip(schedule.phases, rates, strict=True):
        if before is not None:
            # Where the phase follows the run's rule there is nothing to say of its own.
            highest = None if phase.learning_rate is None else max(run) / peak
            for check in (_same_distribution, _shifted, _replay):
                found.extend(check(phase, before, level, highest))
        before, level = phase.mixture, run[-1] / peak
    found.extend(_length(schedule))
    if pretrained_tokens and tokens:
        found.extend(_small_budget(schedule, tokens / pretrained_tokens))
    return tuple(sorted(found, key=lambda a: a.level != "warning"))


def _phase_rates(schedule: Schedule) -> list[list[float]]:
    """Rates over each phase; rules that name no peak are taken to have the run's, or the highest.

    The last of a phase is the rate it ends with.
    """
    rules = [schedule.learning_rate, *(p.learning_rate for p in schedule.phases)]
    named = [r.peak for r in rules if r is not None and r.peak is not None]
    peak = named[0] if schedule.learning_rate and named else max(named, default=1.0)
    out, start = [], 0.0
    for phase in schedule.phases:
        steps = [start + phase.fraction * min(i / 50, 1 - 1e-9) for i in range(51)]
        found = [schedule.rate_factor(at) for at in steps]
        out.append([factor * (own or peak) for factor, own in found])
        start += phase.fraction
    return out


def _same_distribution(
    phase: Phase, before: Mixture, level: float, highest: float | None
) -> Iterator[Advice]:
    rewarms = highest is not None and highest > level + 0.1
    if rewarms and shift_between(before, phase.mixture) == "same":
        yield Advice(
            level="warning",
            phase=phase.name,
            message=f"phase {phase.name!r} re-warms the learning rate on the distribution it was "
            "already trained on; that cost .1 to .4 nats at the peak and was never recovered: "
            "resume the rate and its decay exactly",
            source="Gupta et al., arXiv 2308.04014",
        )


def _shifted(
    phase: Phase, before: Mixture, level: float, highest: float | None
) -> Iterator[Advice]:
    shift = shift_between(before, phase.mixture)
    if shift == "same" or highest is None:
        return
    if highest > level + 0.1:
        yield Advice(
            level="note",
            phase=phase.name,
            message=f"phase {phase.name!r} re-warms on a {shift} shift; warm-ups of 0, .5, 1 and "
            "2 % of the steps ended alike, and early on the longer ones were better on old and new",
            source="Gupta et al., arXiv 2308.04014",
        )
    elif level < LOW_RATE:
        yield Advice(
            level="warning",
            phase=phase.name,
            message=f"phase {phase.name!r} meets a {shift} shift at {highest:.0%} of the peak rate "
            "without re-warming; a higher peak is better on the new data and worse on the old",
            source="Gupta et al., arXiv 2308.04014",
        )


def _replay(phase: Phase, before: Mixture, level: float, highest: float | None) -> Iterator[Advice]:
    del level, highest
    new = [n for n in phase.mixture if phase.mixture[n] > 0 and before.get(n, 0.0) == 0]
    if not new:
        return
    replay = 1 - sum(phase.mixture[n] for n in new)
    shift = "strong" if 1 - replay > STRONG else "weak"
    if replay < REPLAY[shift] - 1e-9:
        figure = (
            "5 % replay took the old loss from 2.44 to 2.23 for .01 on the new"
            if shift == "weak"
            else "25 % replay took the old loss from 3.56 to 2.33 for .05 on the new"
        )
        yield Advice(
            level="warning",
            phase=phase.name,
            message=f"phase {phase.name!r} replays {replay:.1%} of old data on a {shift} shift; "
            f"{REPLAY[shift]:.0%} is a start until measured: {figure}",
            source="Ibrahim et al., arXiv 2403.08763",
        )


def _length(schedule: Schedule) -> Iterator[Advice]:
    fraction = schedule.upsample_fraction
    if fraction > 0.3 + 1e-9 or 0 < fraction < 0.05 - 1e-9:
        yield Advice(
            level="note",
            phase=schedule.phases[-1].name,
            message=f"the last phase takes {fraction:.0%} of the tokens; 5 to 30 % was swept at 7B "
            "and 1T tokens, and 10 to 20 % was usually best (core average 39.32 at 20 %)",
            source="Blakeney et al., arXiv 2406.03476",
        )


def _small_budget(schedule: Schedule, share: float) -> Iterator[Advice]:
    for phase in schedule.phases:
        rule = phase.learning_rate or schedule.learning_rate
        if share < SMALL_BUDGET and rule is not None and 0 < rule.warmup < 0.01:
            yield Advice(
                level="warning",
                phase=phase.name,
                message=f"phase {phase.name!r} warms up over {rule.warmup:.1%} of a budget that is "
                f"{share:.1%} of the pretraining; on a small budget a lower peak and a longer "
                "warm-up were better on old and new data",
                source="Gupta et al., arXiv 2308.04014",
            )
