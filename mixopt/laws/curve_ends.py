"""Where loss curves end, from where curves that passed the same rung have ended.

Runs of one size, length and learning-rate rule have aligned curves: between a rung and the end they
fall by nearly the same. So the end is a straight line in the value at the rung, and a prior says
how straight. Its numbers were chosen with the curves of ``benchmarks/early_stops.py`` in view; that
tells how often the intervals hold there. With the conjugate prior of Bayesian linear regression
predictions are Student's t (Gelman et al., Bayesian Data Analysis, 3rd ed., 14).

Notation: n finished curves, k curves that go on, m columns (metrics, or objectives); s is the share
of the run at the rung, S the spread of all curves. Bad curves end before later rungs, so that those
seen there alone would say that curves differ by little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import beta, stdtr

from mixopt.laws._arrays import Array

#: The slope is 1 with this standard deviation, the errors' is this share of S at the end, growing
#: with 1 / sqrt(s) towards the start, and that counts for so many degrees of freedom.
SLOPE_SD, ERROR, FREEDOM = 0.25, 0.12, 3.0
#: No end is known to more digits than this share of its value.
_DIGITS = 1e-6


@dataclass(frozen=True)
class Likely:
    """Numbers as Student's t.

    Args:
        mean: ``k x m``.
        scale: ``k x m``, above 0.
        freedom: Degrees of freedom, above 2.
    """

    mean: Array
    scale: Array
    freedom: float

    @property
    def sd(self) -> Array:
        """``k x m`` standard deviations."""
        return np.asarray(self.scale * np.sqrt(self.freedom / (self.freedom - 2)))

    def below(self, bound: float) -> Array:
        """``k x m`` probabilities of less than a bound."""
        return np.asarray(stdtr(self.freedom, (bound - self.mean) / self.scale))

    def gain(self, bound: float) -> Array:
        """``k x m`` expected amounts below a bound; being above it counts as 0."""
        z, v = (bound - self.mean) / self.scale, self.freedom
        tail = np.sqrt(v) / (v - 1) / beta(0.5, v / 2) * (1 + z**2 / v) ** ((1 - v) / 2)
        return np.asarray(self.scale * (z * stdtr(v, z) + tail))


@dataclass(frozen=True)
class CurveEnds:
    """The line from a rung to the end; make one with :func:`fit_curve_ends`.

    Args:
        middle: ``m`` means of the finished curves at the rung.
        end: ``m`` means of their ends.
        slope: ``m`` slopes.
        weight: ``m`` precisions of the slopes times the error variances.
        error: ``m`` standard deviations of the errors.
        freedom: Degrees of freedom of those.
        curves: Number n.
    """

    middle: Array
    end: Array
    slope: Array
    weight: Array
    error: Array
    freedom: float
    curves: int

    def predict(self, now: Array) -> Likely:
        """The ends of curves at ``k x m`` values at the rung; n must be at least 1."""
        away = now - self.middle
        mean = self.end + self.slope * away
        scale = self.error * np.sqrt(1.0 + 1.0 / self.curves + away**2 / self.weight)
        return Likely(mean, np.maximum(scale, _DIGITS * np.abs(mean)), self.freedom)

    def apart(self, now: Array, other: Array) -> Likely:
        """By how much curves end above another that goes on too, from both at the rung."""
        away = now - other
        scale = self.error * np.sqrt(2.0 + away**2 / self.weight)
        return Likely(self.slope * away, np.maximum(scale, 1e-300), self.freedom)


def fit_curve_ends(rungs: Array, ends: Array, spread: Array, share: float) -> CurveEnds:
    """Learn how values at a rung lead to ends.

    Args:
        rungs: ``n x m`` values of the finished curves at the rung; n may be 0.
        ends: ``n x m`` values at their ends.
        spread: ``m`` standard deviations of the values of all curves at a rung, those among them
            that ended before this one.
        share: Of the run's tokens at the rung.
    """
    n = len(rungs)
    nothing = np.zeros_like(spread)
    middle, end = (v.mean(0) if n else nothing for v in (rungs, ends))
    variance = np.maximum((ERROR**2 / share) * spread**2, np.finfo(float).tiny)
    held = variance / SLOPE_SD**2
    x, y = rungs - middle, ends - end
    weight = held + (x**2).sum(0)
    slope = (held + (x * y).sum(0)) / weight
    left = ((y - slope * x) ** 2).sum(0) + held * (slope - 1.0) ** 2
    freedom = FREEDOM + max(n - 1, 0)
    error = np.sqrt((FREEDOM * variance + left) / freedom)
    return CurveEnds(middle, end, slope, weight, error, freedom, n)
