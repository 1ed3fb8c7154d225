"""The one place where numbers about the objective get their interval and say what they are.

Recommendation, tables, report and figures show these values and make none of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from mixopt.space import Fidelity, Frozen, Split
from mixopt.space.effect import Effect
from mixopt.space.metric import Goal

if TYPE_CHECKING:
    from mixopt.propose import Estimate, Recommendation
    from mixopt.propose.problem import Problem
    from mixopt.surrogate import Prediction

LEVEL = 0.95
BASELINE = "baseline"
RECOMMENDATION = "recommendation"


class Source(StrEnum):
    """Where an estimate comes from."""

    predicted = "predicted"
    observed = "observed"
    confirmed = "confirmed"


class Noise(StrEnum):
    """Which uncertainty an interval holds.

    ``surrogate``: of the surrogate, no run-to-run noise. ``observation``: of the surrogate, and the
    run-to-run noise of one run. ``run``: the run-to-run noise of the runs behind it, its size as
    the surrogate estimates it. ``seeds``: the run-to-run noise of a mean over seeds, by Student's
    t. ``none``: the value is exact, or nothing says how wide its interval is.
    """

    surrogate = "surrogate"
    observation = "observation"
    run = "run"
    seeds = "seeds"
    none = "none"


class Reference(StrEnum):
    """What an estimate is relative to."""

    absolute = "absolute"
    baseline = "baseline"


class ObjectiveEstimate(Frozen):
    """One number about the objective, with its interval and what it may be compared with.

    Attributes:
        value: Estimate, in the objective's own direction and unit.
        low: Lower end of the interval; None where nothing says how wide it is.
        high: Upper end.
        level: Probability of the interval.
        relative_to: Zero of the scale: the loss itself, or its difference from the baseline.
        noise: Uncertainty that the interval holds.
        source: Origin of the value.
        split: Held-out text that it speaks of.
        runs: Number of training runs averaged; 0 for a prediction.
    """

    value: float
    low: float | None = None
    high: float | None = None
    level: float = LEVEL
    relative_to: Reference = Reference.absolute
    noise: Noise = Noise.none
    source: Source
    split: Split = Split.validation
    runs: int = 0

    @property
    def half_width(self) -> float | None:
        """Half of the interval's width; None where there is no interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


class EstimateRow(Frozen):
    """One schedule's objective, as a difference from the baseline and as it is.

    Attributes:
        label: Name of the schedule or of the number.
        objective: The loss; it may be compared with losses of the same split and fidelity only.
        difference: The loss minus the baseline's, where both are known alike.
        fidelity: Size of the run it speaks of, where trials differ in theirs.
    """

    label: str
    objective: ObjectiveEstimate
    difference: ObjectiveEstimate | None = None
    fidelity: Fidelity | None = None


class Answer(Frozen):
    """What a recommendation is worth, its numbers on one scale.

    Attributes:
        gain: Difference of the recommendation from the baseline: confirmed where at least two seeds
            of both have finished, else predicted.
        predicted: Row of the prediction.
        best_observed: Row of the best finished trial.
        best_trial: Id of that trial.
        baseline: Row of the baseline as predicted.
        baseline_observed: Row of the baseline as observed, if it was a trial.
        references: Rows of the natural and the uniform mixture, as predicted.
        confirmed: Rows of the confirmation runs on text the search never saw, the recommendation
            first; empty where there are none.
        fresh: Rows of the same runs on the search's held-out text, where predictions can be held
            against fresh seeds.
        goal: Which way the objective is better.
        unit: Of the objective, '' where it has none.
        word: Name of the objective's value.
    """

    gain: ObjectiveEstimate
    predicted: EstimateRow
    best_observed: EstimateRow
    best_trial: str
    baseline: EstimateRow
    baseline_observed: EstimateRow | None = None
    references: tuple[EstimateRow, ...] = ()
    confirmed: tuple[EstimateRow, ...] = ()
    fresh: tuple[EstimateRow, ...] = ()
    goal: Goal = "minimize"
    unit: str = "nats/token"
    word: str = "loss"

    @property
    def is_confirmed(self) -> bool:
        """Whether the gain comes from confirmation runs."""
        return self.gain.source == Source.confirmed


#: The baseline's difference from itself.
ZERO = ObjectiveEstimate(
    value=0.0, low=0.0, high=0.0, relative_to=Reference.baseline, source=Source.predicted
)


def answer_of(recommendation: Recommendation) -> Answer:
    """Every number of a recommendation as estimates on one scale."""
    rec = recommendation
    confirmed = tuple(_confirmed(rec, Split.confirmation))
    predicted = _predicted("predicted", rec.predicted, rec.differences.predicted, rec.target)
    found = next((r.difference for r in confirmed if r.label == RECOMMENDATION), None)
    # One seed says nothing of its interval, and a gain without one is no answer.
    gain = found if found and found.half_width is not None else predicted.difference
    assert gain is not None, "a prediction has a difference from the baseline"
    return Answer(
        gain=gain,
        predicted=predicted,
        best_observed=_best_observed(rec),
        best_trial=rec.best_observed.trial,
        baseline=EstimateRow(
            label=BASELINE,
            objective=_gaussian(rec.baseline),
            difference=ZERO,
            fidelity=rec.target,
        ),
        baseline_observed=_baseline_observed(rec),
        references=tuple(_references(rec)),
        confirmed=confirmed,
        fresh=tuple(_confirmed(rec, Split.validation)),
        goal=rec.goal,
        unit=rec.unit,
        word=rec.word,
    )


def _gaussian(estimate: Estimate, relative_to: Reference = Reference.absolute) -> ObjectiveEstimate:
    return ObjectiveEstimate(
        value=estimate.mean,
        low=estimate.low,
        high=estimate.high,
        relative_to=relative_to,
        noise=Noise.surrogate,
        source=Source.predicted,
    )


def _predicted(
    label: str,
    objective: Estimate,
    difference: Estimate,
    target: Fidelity | None,
) -> EstimateRow:
    return EstimateRow(
        label=label,
        objective=_gaussian(objective),
        difference=_gaussian(difference, Reference.baseline),
        fidelity=target,
    )


def _references(rec: Recommendation) -> Iterator[EstimateRow]:
    """Natural and uniform mixture, where they are known and not the baseline itself."""
    pairs = {
        "natural": (rec.natural, rec.differences.natural),
        "uniform": (rec.uniform, rec.differences.uniform),
    }
    for label, (objective, difference) in pairs.items():
        if objective is not None and difference is not None and objective != rec.baseline:
            yield _predicted(label, objective, difference, rec.target)


def _observed(
    value: float, sd: float, runs: int, relative_to: Reference = Reference.absolute
) -> ObjectiveEstimate:
    wide = float(norm.ppf((1 + LEVEL) / 2)) * sd
    return ObjectiveEstimate(
        value=value,
        low=value - wide,
        high=value + wide,
        relative_to=relative_to,
        noise=Noise.run,
        source=Source.observed,
        runs=runs,
    )


def _best_observed(rec: Recommendation) -> EstimateRow:
    """The best trial, beside the baseline's trials; beside its prediction where it was not run.

    Where trials differ in fidelity, only a baseline that was run at the same one will do.
    """
    best, noise = rec.best_observed, rec.noise_sd
    against, spread = rec.baseline_observed, noise / np.sqrt(max(rec.baseline_runs, 1))
    if against is None and rec.target == best.fidelity:
        against, spread = rec.baseline.mean, rec.baseline.sd
    difference = None
    if against is not None:
        sd = float(np.hypot(noise, spread))
        difference = _observed(best.value - against, sd, 1, Reference.baseline)
    return EstimateRow(
        label=f"best observed ({best.trial})",
        objective=_observed(best.value, noise, 1),
        difference=difference,
        fidelity=best.fidelity,
    )


def _baseline_observed(rec: Recommendation) -> EstimateRow | None:
    if rec.baseline_observed is None:
        return None
    runs = max(rec.baseline_runs, 1)
    return EstimateRow(
        label="baseline, observed",
        objective=_observed(rec.baseline_observed, rec.noise_sd / np.sqrt(runs), runs),
        difference=ZERO,
        fidelity=rec.best_observed.fidelity,
    )


def of_seeds(
    values: Sequence[float], split: Split, relative_to: Reference = Reference.absolute
) -> ObjectiveEstimate:
    """The mean over seeds with its interval by Student's t; no interval for a single seed."""
    effect = Effect.of(values, LEVEL) if len(values) > 1 else None
    return ObjectiveEstimate(
        value=float(np.mean(values)),
        low=effect and effect.low,
        high=effect and effect.high,
        relative_to=relative_to,
        noise=Noise.seeds if effect else Noise.none,
        source=Source.confirmed,
        split=split,
        runs=len(values),
    )


def _confirmed(rec: Recommendation, split: Split) -> Iterator[EstimateRow]:
    """The confirmation runs measured on one split, differences paired by seed."""
    unseen = split == Split.confirmation
    found = {c.label: c.values if unseen else c.search_values for c in rec.confirmations}
    base = found.get(BASELINE, {})
    for label, values in found.items():
        if not values:
            continue
        gaps = [value - base[seed] for seed, value in values.items() if seed in base]
        difference = of_seeds(gaps, split, Reference.baseline) if gaps else None
        yield EstimateRow(
            label=label,
            objective=of_seeds(list(values.values()), split),
            difference=ZERO if label == BASELINE else difference,
        )


def of_observations(
    problem: Problem, predicted: Prediction, at_target: NDArray[np.bool_]
) -> tuple[ObjectiveEstimate, ...]:
    """What one run of each schedule was predicted to give, run-to-run noise included.

    Errors of the metrics go together as the surrogate found out of fold. What moves all predictions
    at the target alike is in the interval of runs made there; values extrapolated to the target
    share it with their predictions.

    Args:
        problem: Gives objective, error correlation and level.
        predicted: Predictions ``n x m``, level left out.
        at_target: ``n``, whether each run was made at the target.
    """
    w = problem.weights
    mean = problem.sign * (predicted.mean @ w)
    own = problem.combined(predicted.observation_sd)
    sd = np.sqrt(own**2 + np.where(at_target, w @ problem.level @ w, 0.0))
    wide = float(norm.ppf((1 + LEVEL) / 2)) * sd
    return tuple(
        ObjectiveEstimate(
            value=float(m),
            low=float(m - h),
            high=float(m + h),
            noise=Noise.observation,
            source=Source.predicted,
        )
        for m, h in zip(mean, wide, strict=True)
    )
