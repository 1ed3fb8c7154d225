"""Searched learning rates as coordinates of a design row, and the clock a falling rate makes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixopt.space.geometry.layout import RateClock
from mixopt.space.learning_rate import LearningRateSpace, RateAxis
from mixopt.space.mixture import LearningRate

Array = NDArray[np.float64]

#: Steps in which a rate is summed.
TICKS = 256


def rule_at(
    given: LearningRate | LearningRateSpace | None,
    axes: Sequence[RateAxis],
    phase: int,
    rates: Array,
) -> LearningRate | None:
    """The learning-rate rule of a phase (-1 for the run) at coordinates ``r``."""
    if not isinstance(given, LearningRateSpace):
        return given
    return given.rule(
        {
            str(axis.name): axis.value(float(rate))
            for axis, rate in zip(axes, rates, strict=True)
            if axis.phase == phase
        }
    )


def snap_rates(axes: Sequence[RateAxis], rates: Array) -> Array:
    """Coordinates ``n x r`` that the axes allow."""
    if not axes:
        return rates
    return np.stack([axis.snapped(rates[:, i]) for i, axis in enumerate(axes)], axis=1)


def draw_rates(axes: Sequence[RateAxis], n: int, rng: np.random.Generator) -> Array:
    """Even draws ``n x r``: a Latin hypercube, so that few rows cover every axis."""
    if not axes:
        return np.empty((n, 0))
    cells = np.stack([rng.permutation(n) for _ in axes], axis=1)
    return snap_rates(axes, (cells + rng.random(cells.shape)) / max(n, 1))


def rate_clock(run: LearningRate | None, phases: Sequence[LearningRate | None]) -> RateClock | None:
    """The clock of a run's rule and its phases' own; None where every rate is the same throughout.

    A rule that names no peak is taken to have the run's.
    """
    rule = run or LearningRate()
    steps = (np.arange(TICKS) + 0.5) / TICKS
    table = np.concatenate([[0.0], np.cumsum([rule.factor(float(t)) for t in steps]) / TICKS])
    top = rule.peak
    own = tuple(
        None
        if other is None
        else float(np.mean([other.factor(float(t)) for t in steps]))
        * (other.peak / top if other.peak and top else 1.0)
        for other in phases
    )
    constant = np.allclose(np.diff(table) * TICKS, 1.0)
    if constant and all(value is None or abs(value - 1) < 1e-9 for value in own):
        return None
    return RateClock(tuple(float(v) for v in table), own)
