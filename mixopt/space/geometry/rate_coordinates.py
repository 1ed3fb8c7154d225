"""Searched learning rates as coordinates of a design row, from 0 to 1 each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixopt.space.learning_rate import LearningRate
from mixopt.space.learning_rate_space import LearningRateSpace, RateAxis

Array = NDArray[np.float64]


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
