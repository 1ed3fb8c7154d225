"""Learning-rate rules laid over a run: where a rate rises, holds and falls, in whole units.

A trainer counts sequences, steps or tokens from the start of the run or of a phase; the marks of a
rule are given in any of them, so that every exporter writes the same curve in its own words.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mixopt.space import LearningRate, Schedule

#: A number of a learning rate that may be the trials' own and not the target's.
TrialRate = Literal["peak", "warmup"]

#: What stands in a file for a number that only the owner of the target run knows. None of them
#: parses as a number, so that a trainer stops at one that was left.
PEAK = "PEAK_LEARNING_RATE"
WARMUP = "WARMUP"


@dataclass(frozen=True)
class RatePlan:
    """One rule over one stretch of the run.

    Attributes:
        rule: Its shape.
        begin: Sequences trained on before the stretch.
        end: Sequences trained on when it ends.
        peak: The rate at the plateau; None where the target's is not known.
        scale: ``peak`` over the peak of the schedule's first rule.
        warmup_known: Whether the warm-up is the target's, and not only the trials'.
        own: Whether it is a phase's own rule, and not the run's.
    """

    rule: LearningRate
    begin: int
    end: int
    peak: float | None
    scale: float = 1.0
    warmup_known: bool = True
    own: bool = False

    @property
    def decays(self) -> bool:
        """Whether the rate falls at all."""
        return self.rule.decay > 0

    @property
    def whole(self) -> bool:
        """Whether it falls all the way from the end of its warm-up."""
        return self.decays and self.rule.warmup + self.rule.decay >= 1 - 1e-9

    @property
    def peak_text(self) -> float | str:
        """The peak, or what stands in for it."""
        return self.times(1.0)

    def times(self, factor: float) -> float | str:
        """A multiple of the peak, or what stands in for it."""
        if self.peak is not None:
            return float(f"{self.peak * factor:.9g}")
        scale = self.scale * factor
        return 0.0 if scale == 0 else PEAK if scale == 1 else f"{scale:.6g} * {PEAK}"

    def warmup(self, per: float = 1.0) -> int | str:
        """Units of ``per`` sequences spent rising, or what stands in for them."""
        if not self.warmup_known:
            return WARMUP
        return round(self.rule.warmup * (self.end - self.begin) / per)

    def decay(self, per: float = 1.0) -> int:
        """Units of ``per`` sequences spent falling."""
        return round(self.rule.decay * (self.end - self.begin) / per)

    def span(self, per: float = 1.0) -> tuple[int, int]:
        """Where the stretch begins and ends, in units of ``per`` sequences."""
        return round(self.begin / per), round(self.end / per)


def plan_rates(
    schedule: Schedule,
    spans: Iterable[tuple[int, int]],
    peak: float | None = None,
    of_trials: Iterable[TrialRate] = (),
) -> tuple[RatePlan | None, ...]:
    """The rule that holds in each phase.

    Args:
        schedule: Names the rules.
        spans: Start and end of each phase, in sequences.
        peak: The target's peak for the schedule's first rule; others keep their ratio to it.
        of_trials: Numbers that are the trials' own, so that none is written for the target.

    Returns:
        One rule per phase; None where neither it nor the run has one.
    """
    spans, hidden = list(spans), set(of_trials)
    rules = [schedule.learning_rate, *(p.learning_rate for p in schedule.phases)]
    known = [r.peak for r in rules if r is not None and r.peak is not None]

    def laid(rule: LearningRate, begin: int, end: int, own: bool) -> RatePlan:
        scale = rule.peak / known[0] if rule.peak is not None else 1.0
        stated = None if "peak" in hidden else rule.peak
        value = stated if peak is None else peak * scale
        return RatePlan(rule, begin, end, value, scale, own or "warmup" not in hidden, own)

    run = schedule.learning_rate
    return tuple(
        laid(phase.learning_rate, *span, True)
        if phase.learning_rate is not None
        else None
        if run is None
        else laid(run, 0, spans[-1][1], False)
        for phase, span in zip(schedule.phases, spans, strict=True)
    )


def one_warmup_notes(trainer: str, rates: Iterable[RatePlan | None]) -> list[str]:
    """What is lost in a trainer that warms up once, from 0."""
    warmed = [r for r in rates if r and r.rule.warmup]
    notes = []
    if any(r.own and r.begin for r in warmed):
        notes.append(
            f"{trainer} warms up only from the run's first step: the re-warming of a later phase "
            "is left out, and its rate begins at the peak"
        )
    if any(r.rule.start for r in warmed):
        notes.append(f"{trainer} warms up from 0; the rule's start is left out")
    return notes


@dataclass(frozen=True)
class RateStage:
    """A piece of a rule inside one phase.

    Attributes:
        units: Its length.
        shape: How the rate goes from ``first`` to ``last``.
        first: The factor on the peak where it begins.
        last: The factor where it ends.
    """

    units: int
    shape: Literal["linear", "cosine"]
    first: float
    last: float


#: Straight pieces that stand for a fall which is neither linear nor a whole cosine.
PIECES = 16


def rate_stages(rate: RatePlan, begin: int, end: int, per: float = 1.0) -> list[RateStage]:
    """The part of a rule between two sequences as straight pieces and whole cosines.

    For trainers that start counting again at each phase. A fall that is neither linear nor wholly
    inside is cut into ``PIECES``.
    """
    length = rate.end - rate.begin
    rise, fall = rate.rule.warmup * length, rate.rule.decay * length
    marks = [rate.begin, rate.begin + rise, rate.end - fall]
    whole_cosine = rate.rule.shape == "cosine" and begin <= marks[2] and rate.end <= end
    if rate.decays and rate.rule.shape != "linear" and not whole_cosine:
        marks += [rate.end - fall * (1 - i / PIECES) for i in range(1, PIECES)]
    cuts = [round(min(max(m, begin), end) / per) for m in (*marks, rate.end)]
    cuts = [round(begin / per), *cuts, round(end / per)]
    out = []
    for low, high in itertools.pairwise(cuts):
        if high > low:
            cosine = whole_cosine and low * per >= marks[2] - per
            first, last = (_factor(rate, unit * per) for unit in (low, high))
            out.append(RateStage(high - low, "cosine" if cosine else "linear", first, last))
    return out


def _factor(rate: RatePlan, sequence: float) -> float:
    return rate.rule.factor(min(max((sequence - rate.begin) / (rate.end - rate.begin), 0.0), 1.0))
