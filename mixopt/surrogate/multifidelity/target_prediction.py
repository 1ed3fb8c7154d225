"""Prediction at a size and horizon never trained at: levels, differences and their intervals.

How wide the intervals are was set by what the same model's errors were at the same ratio of
distance on public tables of runs (``benchmarks/README.md``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixopt.errors import SurrogateError
from mixopt.laws._arrays import Array
from mixopt.surrogate.multifidelity.fidelity_rows import FidelityRows, RunRule
from mixopt.surrogate.multifidelity.scale_gp import fit_scale_gp, spaced
from mixopt.surrogate.multifidelity.scale_surrogate import LEVEL_CORRELATION

_CONDITIONED_ON = 1500


@dataclass(frozen=True)
class TargetPrediction:
    """Losses of g mixtures at the target, one new run each.

    Args:
        mean: ``g x m`` (nats/token).
        cov: ``m x g x g`` covariance of their expected losses.
        run_sd: ``m`` standard deviations of the run-to-run noise.
        correlation: ``m x m`` of the metrics' errors, what all mixtures share left out.
        exponents: Of size and length, as all metrics say together.
    """

    mean: Array
    cov: Array
    run_sd: Array
    correlation: Array
    exponents: tuple[float, float]

    @property
    def sd(self) -> Array:
        """``g x m`` standard deviations."""
        var = np.diagonal(self.cov, axis1=1, axis2=2).T
        return np.asarray(np.sqrt(np.maximum(var, 0.0) + self.run_sd**2))

    @property
    def shared(self) -> Array:
        """``m`` variances of what moves all mixtures alike; 0 for a single one."""
        g = len(self.mean)
        apart = ~np.eye(g, dtype=bool)
        return np.maximum(self.cov[:, apart].mean(1), 0.0) if g > 1 else np.zeros(len(self.run_sd))

    def combined(self, weights: Array) -> tuple[Array, Array]:
        """Mean and standard deviation ``g`` of the metrics' sum with weights ``m``."""
        own = np.sqrt(np.maximum(self.sd**2 - self.shared, 0.0)) * weights
        level = np.sqrt(self.shared) * weights
        together = LEVEL_CORRELATION + (1.0 - LEVEL_CORRELATION) * np.eye(len(level))
        var = np.einsum("gm,mk,gk->g", own, self.correlation, own) + level @ together @ level
        return self.mean @ weights, np.sqrt(var)

    def difference(self, mixture: int, other: int, weights: Array) -> tuple[float, float]:
        """Mean and standard deviation of one mixture's weighted loss less another's.

        What all mixtures share drops out, so this is known far better than either loss.
        """
        i, j = mixture, other
        gap = self.cov[:, i, i] + self.cov[:, j, j] - 2 * self.cov[:, i, j]
        own = np.sqrt(np.maximum(gap, 0.0) + 2 * self.run_sd**2) * weights
        mean = (self.mean[i] - self.mean[j]) @ weights
        return float(mean), float(np.sqrt(own @ self.correlation @ own))


def predict_target(
    rows: FidelityRows, Y: Array, wanted: FidelityRows, *, rule: RunRule | None = None
) -> TargetPrediction:
    """Predict mixtures at one fidelity.

    Args:
        rows: Where losses were measured; checkpoints of one run share its number. Of a run, the
            checkpoints of its first 30 % and of its first three warm-ups are left out.
        Y: ``n x m`` losses (nats/token).
        wanted: Mixtures, all at the target.
        rule: The learning-rate rule that rows and target were read under; None if not known, which
            widens the intervals where runs have several checkpoints.

    Raises:
        SurrogateError: If losses are not finite, a size or length is not positive, or the target
            is not one.
    """
    places = np.unique(np.stack([wanted.N, wanted.D], axis=1), axis=0)
    if len(places) != 1:
        raise SurrogateError(
            f"a target is one size and length; got {len(places)}", "predict them one by one"
        )
    known = rule is not None or bool(rows.last.all())
    if rule is not None:
        rows, wanted = rows.under(rule), wanted.under(rule)
    used = rows.settled(rule)
    used = used[spaced(rows.take(used), _CONDITIONED_ON)]
    gp = fit_scale_gp(rows.take(used), Y[used], wanted.take(np.array([0])), rule_known=known)
    mean, cov = gp.moments([(1.0, wanted)])
    return TargetPrediction(mean, cov, gp.run_sd, gp.correlation, gp.exponents)
