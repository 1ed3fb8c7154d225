"""What a gain is worth in tokens, read from the loss curves of two schedules.

A rung in the middle of a run is not the end of a shorter run: where the learning rate decays late,
the middle lies above it, and the tokens saved look fewer than they are.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.stats import t as student

from mixopt.advice import distance
from mixopt.errors import StudyError
from mixopt.space import Frozen, Kind, Objective, Observation, Schedule, Split, Trial
from mixopt.study.comparisons import run_digest
from mixopt.study.state import by_trial

Array = NDArray[np.float64]

SEARCH = (Kind.initial, Kind.proposed)
CHECKS = (Kind.confirmation, Kind.comparison)


class Beyond(StrEnum):
    """On which side of what was measured a number of tokens lies."""

    no = ""
    more = "more"
    less = "less"


class TokenRatio(Frozen):
    """Tokens until a loss is reached over those of a whole run, as a geometric mean over seeds.

    Attributes:
        value: Ratio; where it lies beyond what was measured, the last ratio that was.
        low: Lower end of the interval by Student's t on the logarithm; None for a single seed and
            where the ratio lies beyond what was measured.
        high: Upper end.
        beyond: Side of the measured range on which the true ratio lies.
    """

    value: float
    low: float | None = None
    high: float | None = None
    beyond: Beyond = Beyond.no


class TokenWorth(Frozen):
    """A gain told in tokens.

    Attributes:
        needed: Tokens of the recommendation for the baseline's end loss, over the baseline's run.
        worth: Tokens of the baseline for the recommendation's end loss, over the recommended run.
        seeds: Number of pairs of runs.
        source: Names of the runs behind it, in words.
    """

    needed: TokenRatio
    worth: TokenRatio
    seeds: int
    source: str


@dataclass(frozen=True)
class LossCurve:
    """The objective over one run.

    Args:
        tokens: ``n`` training tokens, ascending.
        losses: ``n`` objectives (nats/token).

    Raises:
        StudyError: If there are fewer than two rungs, or tokens do not ascend.
    """

    tokens: Array
    losses: Array

    def __post_init__(self) -> None:
        if len(self.tokens) < 2 or (np.diff(self.tokens) <= 0).any() or self.tokens[0] <= 0:
            raise StudyError(
                f"a loss curve needs at least two rungs with ascending tokens; got "
                f"{self.tokens.tolist()}",
                "have the trainer report its losses during training",
            )

    @property
    def falling(self) -> Array:
        """``n`` losses with the noise that made them rise averaged out (isotonic regression)."""
        return np.asarray(isotonic_regression(self.losses, increasing=False).x)

    def tokens_at(self, loss: float) -> tuple[float, Beyond]:
        """Tokens at which a loss is first reached, linear in their logarithm between rungs."""
        falling = self.falling
        if loss < falling[-1]:
            return float(self.tokens[-1]), Beyond.more
        if loss > falling[0]:
            return float(self.tokens[0]), Beyond.less
        descending, first = np.unique(-falling, return_index=True)
        return float(np.exp(np.interp(-loss, descending, np.log(self.tokens[first])))), Beyond.no


def token_worth(
    recommended: Mapping[Hashable, LossCurve],
    baseline: Mapping[Hashable, LossCurve],
    *,
    level: float = 0.95,
    source: str = "",
) -> TokenWorth:
    """What the recommendation's gain is worth in tokens, paired by seed.

    Args:
        recommended: Curve per seed of the recommended schedule.
        baseline: Curve per seed of the baseline.
        level: Probability of the intervals.
        source: Names of the runs, in words.

    Raises:
        StudyError: If no seed has both curves.
    """
    seeds = [seed for seed in recommended if seed in baseline]
    if not seeds:
        raise StudyError(
            "the worth in tokens needs curves of the recommendation and the baseline with a common "
            f"seed; got seeds {list(recommended)} and {list(baseline)}",
            "run the confirmation runs of both",
        )
    pairs = [(recommended[seed], baseline[seed]) for seed in seeds]
    return TokenWorth(
        needed=_ratio([_reaching(one, other) for one, other in pairs], level),
        worth=_ratio([_reaching(other, one) for one, other in pairs], level),
        seeds=len(seeds),
        source=source,
    )


def _reaching(curve: LossCurve, goal: LossCurve) -> tuple[float, Beyond]:
    """Logarithm of the tokens of one curve at the end loss of another over those of the other."""
    tokens, beyond = curve.tokens_at(float(goal.falling[-1]))
    return float(np.log(tokens / goal.tokens[-1])), beyond


def _ratio(found: Sequence[tuple[float, Beyond]], level: float) -> TokenRatio:
    logs = np.array([log for log, _ in found])
    sides = {side for _, side in found} - {Beyond.no}
    mean, n = float(logs.mean()), len(logs)
    if sides:
        # A mean of bounds on one side is a bound; of both sides the seeds say nothing together.
        side = sides.pop() if len(sides) == 1 else Beyond.more
        bound = mean if not sides else float(logs.min())
        return TokenRatio(value=float(np.exp(bound)), beyond=side)
    if n < 2:
        return TokenRatio(value=float(np.exp(mean)))
    wide = float(student.ppf((1 + level) / 2, n - 1) * logs.std(ddof=1) / np.sqrt(n))
    return TokenRatio(
        value=float(np.exp(mean)), low=float(np.exp(mean - wide)), high=float(np.exp(mean + wide))
    )


def study_token_worth(
    trials: Sequence[Trial],
    observations: Iterable[Observation],
    objective: Objective,
    recommended: Schedule,
    baseline: Schedule,
) -> TokenWorth:
    """What a recommendation is worth in tokens by the runs that a study has stored.

    The confirmation runs of both schedules, where a seed of each has finished; else the search's
    trials of the baseline and of the schedule nearest to the recommendation.

    Args:
        trials: Those of the study that have finished.
        observations: Their rungs.
        objective: Weights of the metrics.
        recommended: Schedule whose gain is measured.
        baseline: Schedule it is compared with.

    Raises:
        StudyError: If the two are the same, or runs or rungs of either are missing.
    """
    if recommended == baseline:
        raise StudyError(
            "the recommendation is the baseline, so it saves no tokens", "run more trials"
        )
    if objective.goal == "maximize":
        raise StudyError(
            "tokens saved are read from curves that fall, and the objective is to be maximised",
            "take an objective of losses",
        )
    rungs = by_trial(observations)
    search = [t for t in trials if t.kind in SEARCH]
    checks = [t for t in trials if t.kind in CHECKS]
    pair = [_of_schedule(checks, s) for s in (recommended, baseline)]
    source = "confirmation runs"
    if not set(pair[0]) & set(pair[1]):
        one, other = _nearest(search, recommended, baseline)
        pair = [{0: one}, {0: other}]
        source = f"trials {one.id} and {other.id} of the search"
    curves = [
        {key: _curve(rungs.get(t.id, []), objective, t.split) for key, t in of.items()}
        for of in pair
    ]
    return token_worth(*curves, source=source)


def _of_schedule(trials: Sequence[Trial], schedule: Schedule) -> dict[Hashable, Trial]:
    """Runs of one schedule by what a pair must have in common."""
    return {
        (t.seed, t.fidelity, t.split): t
        for t in trials
        if run_digest(t.schedule, t.fidelity, t.seed, t.split)
        == run_digest(schedule, t.fidelity, t.seed, t.split)
    }


def _nearest(
    search: Sequence[Trial], recommended: Schedule, baseline: Schedule
) -> tuple[Trial, Trial]:
    """The trial nearest to the recommendation and one of the baseline, of one size, the largest."""
    pairs = [
        (one, other)
        for one, other in itertools.product(search, search)
        if other.schedule == baseline
        and one.schedule != baseline
        and one.fidelity == other.fidelity
    ]
    if not pairs:
        raise StudyError(
            "the worth in tokens needs a finished run of the baseline and one beside it",
            "run the confirmation runs, or a trial of the baseline",
        )
    return min(pairs, key=lambda p: (-p[0].fidelity.flops, _distance(p[0].schedule, recommended)))


def _distance(one: Schedule, other: Schedule) -> float:
    """Total variation of the exposures plus that of the endings."""
    return distance(one.exposure(), other.exposure()) + distance(one.ending, other.ending)


def _curve(rungs: Sequence[Observation], objective: Objective, split: Split) -> LossCurve:
    """The objective at every rung that has all of its metrics."""
    at: dict[int, dict[str, float]] = {}
    for rung in rungs:
        if rung.split == split and rung.tokens > 0:
            at.setdefault(rung.tokens, {})[rung.metric] = rung.value
    whole = {t: at[t] for t in sorted(at) if set(objective.metrics) <= set(at[t])}
    losses = [objective.value(values) for values in whole.values()]
    return LossCurve(np.array(list(whole), dtype=float), np.array(losses))
