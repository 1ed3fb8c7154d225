"""Where loss curves end, from where curves that passed the same rung have ended.

Runs of one size, length and learning-rate rule have aligned curves: between a rung and the end they
fall by nearly the same, and by a little more where the rung is higher. So the end is a straight
line in the value at the rung, with the errors that the finished curves show. The prediction of a
new end is Student's t, as in simple linear regression (Draper and Smith, Applied Regression
Analysis, 3rd ed., 3.1).

Notation: n finished curves, k curves that go on, m columns (metrics, or objectives).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from mixopt.laws._arrays import Array

#: Finished curves below which no end is predicted: with fewer, two coefficients leave too little to
#: tell the errors' size.
LEAST_CURVES = 5
#: No end is known to more digits than this share of its value.
_DIGITS = 1e-6


@dataclass(frozen=True)
class CurveEnds:
    """Ends as Student's t.

    Args:
        mean: ``k x m``.
        scale: ``k x m``, above 0; infinite where the finished curves cannot tell.
        freedom: Degrees of freedom.
    """

    mean: Array
    scale: Array
    freedom: int

    @property
    def sd(self) -> Array:
        """``k x m`` standard deviations."""
        return np.asarray(self.scale * np.sqrt(self.freedom / (self.freedom - 2)))

    def below(self, bound: float) -> Array:
        """``k x m`` probabilities of an end below a bound."""
        return np.asarray(student.cdf((bound - self.mean) / self.scale, self.freedom))


def curve_ends(rungs: Array, ends: Array, now: Array) -> CurveEnds:
    """Predict where curves end.

    Args:
        rungs: ``n x m`` values of the finished curves at one rung.
        ends: ``n x m`` values at their ends.
        now: ``k x m`` values of other curves at that rung.

    Raises:
        ValueError: With fewer than :data:`LEAST_CURVES` finished curves.
    """
    n = len(rungs)
    if n < LEAST_CURVES:
        raise ValueError(f"at least {LEAST_CURVES} finished curves are needed; got {n}")
    middle, x = rungs.mean(0), rungs - rungs.mean(0)
    spread = (x**2).sum(0)
    flat = spread <= n * (_DIGITS * np.abs(middle)) ** 2
    slope = (x * ends).sum(0) / np.where(flat, 1.0, spread) * ~flat
    mean = ends.mean(0) + slope * (now - middle)
    left = ends - ends.mean(0) - slope * x
    away = (now - middle) ** 2
    # A value off a rung at which all were equal says nothing of its end.
    lever = np.where(flat, np.where(away > 0, np.inf, 0.0), away / np.where(flat, 1.0, spread))
    least = _DIGITS * np.abs(mean)
    error = np.maximum(np.sqrt((left**2).sum(0) / (n - 2)), least)
    return CurveEnds(mean, np.asarray(error * np.sqrt(1.0 + 1.0 / n + lever)), n - 2)
