"""The winner's curse: how much better the chosen schedule looks than it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mixopt.propose.evidence import Evidence
from mixopt.propose.problem import Problem
from mixopt.propose.recommendation import Estimate
from mixopt.surrogate.factorise import factorise

Array = NDArray[np.float64]

#: Random halves of the trials over which what was seen out of fold is averaged.
HALVES = 200


@dataclass(frozen=True)
class Optimism:
    """Truth minus prediction at what a replayed study would have chosen.

    Args:
        mean: Over the replays (nats/token); positive where predictions are too good to be true.
        sd: Standard deviation over the replays.
        difference_sd: The same of the difference from the first candidate, the baseline.
        replays: How many.
    """

    mean: float
    sd: float
    difference_sd: float
    replays: int

    def correct(self, predicted: Estimate) -> Estimate:
        """The estimate with the mean optimism added and the interval as wide as the replays say.

        A correction never makes a claim better: a negative mean counts as 0.
        """
        return self._corrected(predicted, self.sd)

    def correct_difference(self, predicted: Estimate) -> Estimate:
        """The same of a difference from the baseline, which nobody chose for looking good."""
        return self._corrected(predicted, self.difference_sd)

    def _corrected(self, predicted: Estimate, replayed: float) -> Estimate:
        if not self.replays:
            return predicted
        of_mean = replayed / np.sqrt(self.replays)
        sd = float(np.hypot(max(replayed, predicted.sd), of_mean))
        return Estimate.of(predicted.mean + max(self.mean, 0.0), sd)


def replay(
    problem: Problem,
    candidates: Array,
    *,
    replays: int,
    caution: float,
    seed: int,
    penalty: Array | None = None,
) -> Optimism:
    """Repeat the study on data redrawn from the surrogate, where the truth is known.

    A posterior draw is taken as the truth, observed with noise at the same schedules; the surrogate
    is fitted anew, chooses among the candidates by the same rule, and what it predicts for its
    choice is compared with the truth (a parametric bootstrap). Where the surrogate was
    cross-validated, the mean is the average of that and of what was really seen there.

    Args:
        problem: The study's question.
        candidates: ``n x D`` rows to choose from, the baseline first.
        replays: How often.
        caution: Standard deviations added to the mean when choosing.
        seed: Of the draws.
        penalty: ``n`` amounts added when choosing.
    """
    away = np.zeros(len(candidates)) if penalty is None else penalty
    rng = np.random.default_rng(seed)
    path = problem.paths(replays, int(rng.integers(2**31)))
    with torch.no_grad():
        at_data = path(torch.as_tensor(problem.X)).numpy()
        truth = path(torch.as_tensor(candidates)).numpy() @ problem.weights
    gaps, differences = [], []
    together = factorise(torch.as_tensor(problem.correlation)).root.numpy().T
    for i in range(replays):
        noise = problem.surrogate.noise_sd * (rng.standard_normal(at_data[i].shape) @ together)
        seen = problem.evidence
        again = Evidence(seen.X, at_data[i] + noise, seen.metrics, seen.ids)
        again_seed = int(rng.integers(2**31))
        fitted = problem.surrogate.refit(again.X, again.Y, again.metrics, seed=again_seed)
        asked = Problem.of(problem.original.space, problem.objective, fitted, again).narrowed()
        mean, sd = asked.expected(candidates)
        chosen = int(np.argmin(mean + caution * sd + away))
        error = truth[i] - mean
        gaps.append(error[chosen])
        differences.append(error[chosen] - error[0])
    foreseen, seen_gap = float(np.mean(gaps)), out_of_fold_gap(problem, caution, rng)
    mean_gap = foreseen if seen_gap is None else (foreseen + seen_gap) / 2
    return Optimism(
        mean_gap, float(np.std(gaps, ddof=1)), float(np.std(differences, ddof=1)), replays
    )


def out_of_fold_gap(problem: Problem, caution: float, rng: np.random.Generator) -> float | None:
    """Truth minus prediction at the row of best prediction among half of the trials, on average.

    The predictions are those of fits that had not seen the row, so the surrogate's own misfit
    shows, which no draw from its posterior knows of; but the choice is among few.

    Returns:
        The mean over random halves; None where the surrogate was not cross-validated.
    """
    unseen = problem.surrogate.out_of_fold
    if unseen is None:
        return None
    mean, sd = unseen.mean @ problem.weights, problem.combined(unseen.sd)
    gaps = []
    for _ in range(HALVES):
        half = rng.permutation(len(mean))[: max(2, len(mean) // 2)]
        chosen = half[int(np.argmin((mean + caution * sd)[half]))]
        gaps.append(problem.y[chosen] - mean[chosen])
    return float(np.mean(gaps))
