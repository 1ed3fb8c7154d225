"""What is known about switching data and learning rates, held against a schedule.

Sources: Gupta et al., arXiv 2308.04014 (re-warming); Ibrahim et al., arXiv 2403.08763 (replay,
infinite schedules); Blakeney et al., arXiv 2406.03476 (upsampling at the end).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mixopt.space.geometry.geometry import geometry_of
from mixopt.space.mixture import Mixture
from mixopt.space.model import Frozen
from mixopt.space.schedule import Phase, Schedule
from mixopt.space.search_space import SearchSpace

SAME = 0.02
STRONG = 0.5
LOW_RATE = 0.5
SMALL_BUDGET = 0.05
#: Share of old data to start from, and what it did.
REPLAY = {
    "weak": (0.05, "5 % replay took the old loss from 2.44 to 2.23 for .01 on the new"),
    "strong": (0.25, "25 % replay took the old loss from 3.56 to 2.33 for .05 on the new"),
}
#: A change of the rate by more than this share of the peak counts.
JUMP = 0.1

Shift = Literal["same", "weak", "strong"]

GUPTA = "Gupta et al., https://arxiv.org/abs/2308.04014"
IBRAHIM = "Ibrahim et al., https://arxiv.org/abs/2403.08763"
BLAKENEY = "Blakeney et al., https://arxiv.org/abs/2406.03476"


class Advice(Frozen):
    """One sentence about a schedule.

    Attributes:
        level: ``warning`` where the schedule goes against what was measured, else ``note``.
        phase: The name of the phase it is about.
        message: The sentence, with the figure behind it.
        kind: The rule behind it, which is the same for every schedule it is true of.
        source: The publication of the figure.
    """

    level: Literal["warning", "note"]
    phase: str
    message: str
    kind: str
    source: str

    @classmethod
    def warning(cls, phase: Phase, kind: str, message: str, source: str = GUPTA) -> Advice:
        """What goes against what was measured; the message goes on after the phase's name."""
        text = f"phase {phase.name!r} {message}"
        return cls(level="warning", phase=phase.name, message=text, kind=kind, source=source)

    def __str__(self) -> str:
        head = "Warning: " if self.level == "warning" else ""
        text = f"{head}{self.message} ({self.source})."
        return text[0].upper() + text[1:]


@dataclass(frozen=True)
class _Switch:
    """The change of rate and data where a phase starts; rates are over the peak of the run.

    Args:
        phase: The phase that starts.
        before: The mixture that was trained on until then.
        level: The rate at which that ended.
        first: The rate at which the phase starts; None where it follows the run's rule, so that
            there is nothing to say of its own.
        highest: The phase's highest rate; None as for ``first``.
        share: The phase's tokens over all before it; None where that is not known.
    """

    phase: Phase
    before: Mixture
    level: float
    first: float | None
    highest: float | None
    share: float | None

    @property
    def shift(self) -> Shift:
        return shift_between(self.before, self.phase.mixture)

    @property
    def rewarms(self) -> bool:
        return self.highest is not None and self.highest > self.level + JUMP


def distance(one: Mixture, other: Mixture) -> float:
    """Total variation, 0 to 1: the share of tokens that would have to change domain."""
    names = {*one, *other}
    return 0.5 * sum(abs(one.get(n, 0.0) - other.get(n, 0.0)) for n in names)


def shift_between(old: Mixture, new: Mixture) -> Shift:
    """How far training moves: by total variation, under .02 the same, over .5 strong."""
    moved = distance(old, new)
    return "same" if moved < SAME else "strong" if moved > STRONG else "weak"


def advise(schedule: Schedule, *, pretrained_on: Mixture | None = None) -> tuple[Advice, ...]:
    """Hold a schedule against published results; nothing is changed.

    Args:
        schedule: The schedule.
        pretrained_on: The mixture that the base checkpoint saw last, for continual pretraining.

    Returns:
        Warnings first, then notes.
    """
    found: list[Advice] = []
    rates = _phase_rates(schedule)
    peak = max(max(r) for r in rates)
    # A base checkpoint is taken to have ended at the usual tenth of its peak.
    before, level, seen = pretrained_on, 0.1, 0.0
    for phase, run in zip(schedule.phases, rates, strict=True):
        if before is not None:
            own = phase.learning_rate is not None
            switch = _Switch(
                phase=phase,
                before=before,
                level=level,
                first=run[0] / peak if own else None,
                highest=max(run) / peak if own else None,
                share=phase.fraction / seen if seen else None,
            )
            for check in (_same_distribution, _shifted, _small_rewarming, _replay):
                found.extend(check(switch))
        before, level, seen = phase.mixture, run[-1] / peak, seen + phase.fraction
    found.extend(_length(schedule))
    return _warnings_first(found)


def _warnings_first(found: Iterable[Advice]) -> tuple[Advice, ...]:
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


def _same_distribution(switch: _Switch) -> Iterator[Advice]:
    phase, first = switch.phase, switch.first
    if switch.shift != "same" or first is None:
        return
    if switch.rewarms:
        yield Advice.warning(
            phase,
            "re-warming on the same distribution",
            "re-warms the learning rate on the distribution it was already trained on; that cost "
            ".1 to .4 nats at the peak and was never recovered: resume the rate and its decay "
            "exactly",
        )
    elif abs(first - switch.level) > JUMP:
        yield Advice.warning(
            phase,
            "resumed at another rate",
            f"goes on with the same distribution at {first:.0%} of the peak rate where it stopped "
            f"at {switch.level:.0%}; a rate that was set anew on the same data cost .1 to .4 nats: "
            "after a break resume its value and its decay exactly",
        )


def _shifted(switch: _Switch) -> Iterator[Advice]:
    phase, shift = switch.phase, switch.shift
    if shift == "same" or switch.highest is None:
        return
    if switch.rewarms:
        yield Advice(
            level="note",
            phase=phase.name,
            message=f"phase {phase.name!r} re-warms on a {shift} shift; warm-ups of 0 to 2 % of "
            "the steps ended alike",
            kind="re-warming on a shift",
            source=GUPTA,
        )
    elif switch.level < LOW_RATE:
        yield Advice.warning(
            phase,
            "a shift without re-warming",
            f"meets a {shift} shift at {switch.highest:.0%} of the peak rate without re-warming; a "
            "higher peak is better on the new data and worse on the old",
        )


def _small_rewarming(switch: _Switch) -> Iterator[Advice]:
    """A short phase that re-warms all the way, or at once."""
    rule, share, top = switch.phase.learning_rate, switch.share, switch.highest
    if rule is None or top is None or share is None or share >= SMALL_BUDGET:
        return
    if switch.rewarms and switch.shift != "same" and (top > 1 - JUMP or rule.warmup < 0.01):
        yield Advice.warning(
            switch.phase,
            "re-warming in a short phase",
            f"re-warms to {top:.0%} of the peak over {rule.warmup:.1%} of a phase that has "
            f"{share:.1%} of the tokens before it; on a small budget a lower peak and a longer "
            "warm-up (2 % rather than 0 or .5 %) were better on old and new data",
        )


def _replay(switch: _Switch) -> Iterator[Advice]:
    phase, before = switch.phase, switch.before
    new = [n for n in phase.mixture if phase.mixture[n] > 0 and before.get(n, 0.0) == 0]
    replay = 1 - sum(phase.mixture[n] for n in new)
    shift = "strong" if 1 - replay > STRONG else "weak"
    least, figure = REPLAY[shift]
    if new and replay < least - 1e-9:
        yield Advice.warning(
            phase,
            f"replay on a {shift} shift",
            f"replays {replay:.1%} of old data on a {shift} shift; {least:.0%} is a start until "
            f"measured: {figure}",
            IBRAHIM,
        )


def _length(schedule: Schedule) -> Iterator[Advice]:
    fraction = schedule.upsample_fraction
    if fraction > 0.3 + 1e-9 or 0 < fraction < 0.05 - 1e-9:
        yield Advice(
            level="note",
            phase=schedule.phases[-1].name,
            message=f"the last phase takes {fraction:.0%} of the tokens; 5 to 30 % was swept at "
            "7B, and 10 to 20 % was usually best",
            kind="length of the last phase",
            source=BLAKENEY,
        )


def log_warnings(found: Iterable[Advice]) -> None:
    """Log the warnings; Python shows them on stderr unless told otherwise."""
    for advice in found:
        if advice.level == "warning":
            logging.getLogger("mixopt.advice").warning(str(advice))


def advise_space(space: SearchSpace) -> tuple[Advice, ...]:
    """Hold a space against published results before anything is trained.

    The baseline, the middle of the space at every choice of fractions, and the ends of every
    searched learning rate there are looked at. One sentence is kept of each kind and phase: that of
    the first schedule it is true of, and of how many it is.

    Args:
        space: The search space.

    Returns:
        Warnings first, then notes.

    Raises:
        InfeasibleError: If nothing can be chosen.
    """
    schedules = list(_typical(space))
    found: dict[tuple[str, str, str], list[Advice]] = {}
    for schedule in schedules:
        for advice in advise(schedule):
            found.setdefault((advice.level, advice.phase, advice.kind), []).append(advice)
    counted = (_counted(some, len(schedules)) for some in found.values())
    return _warnings_first([*_confounded(space), *counted])


def _counted(some: Sequence[Advice], looked_at: int) -> Advice:
    """The first, with of how many schedules it is true where that is not all."""
    if len(some) == looked_at:
        return some[0]
    text = f"{some[0].message} ({len(some)} of {looked_at} schedules looked at)"
    return some[0].model_copy(update={"message": text})


def _confounded(space: SearchSpace) -> Iterator[Advice]:
    """Where phases bring their own rules, another fraction is another learning rate too."""
    own = [phase.name for phase in space.phases if phase.learning_rate is not None]
    chosen = [phase.name for phase in space.phases if len(phase.levels() or ()) > 1]
    if own and chosen:
        yield Advice(
            level="warning",
            phase=chosen[0],
            message=(
                f"the fraction of {', '.join(chosen)} is searched while {', '.join(own)} has a "
                "learning-rate rule of its own: the search cannot tell the two apart; give one "
                "rule for the whole run, or a single fraction"
            ),
            kind="confounded",
            source="by construction",
        )


def _typical(space: SearchSpace) -> Iterator[Schedule]:
    """The baseline, and the middle of every choice of fractions with its rates' ends."""
    yield space.baseline_schedule
    geometry = geometry_of(space)
    middle = np.full((1, len(geometry.rate_axes)), 0.5)
    places = [middle]
    for column, _ in enumerate(geometry.rate_axes):
        for end in (0.0, 1.0):
            places.append(middle.copy())
            places[-1][0, column] = end
    for fractions in geometry.fraction_choices:
        weights = geometry.polytope(fractions).center[None]
        rows = np.vstack([geometry.rows(fractions, weights, rates) for rates in places])
        # A phase that is left out has no rate: its ends are one row.
        yield from map(geometry.decode, {row.tobytes(): row for row in rows}.values())
