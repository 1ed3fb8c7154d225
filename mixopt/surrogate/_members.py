"""The members of the stack: each predicts all metrics, and out of fold for its own judgement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixopt.laws._arrays import Array, namespace
from mixopt.laws.shared import SharedFit, SharedShape, fit_shared, shared_value
from mixopt.laws.units import Units

#: ``(W: n x P x d, F: n x P, arrays: numpy or torch) -> n x m``
Mean = Callable[[Any, Any], Any]

#: Objective units over which restarts share their weight (one unit = one log posterior).
_TEMPERATURE = 100.0


@dataclass(frozen=True)
class LawMember:
    """A fitted parametric member.

    Args:
        name: As shown in the report.
        mean: Its prediction, for numpy arrays and torch tensors alike.
        out_of_fold: ``n x m`` predictions of rows it did not see.
        notes: Per metric, what the law says about its own assumptions ('' where they hold).
    """

    name: str
    mean: Mean
    out_of_fold: Array
    notes: tuple[str, ...] = ()


def _ensemble_weights(value: Array) -> Array:
    w = np.exp(-(value - value.min()) / _TEMPERATURE)
    return np.asarray(w / w.sum())


def _shared_mean(fit: SharedFit) -> Mean:
    weights = _ensemble_weights(fit.value)

    def mean(W: Any, F: Any) -> Any:
        xp = namespace(W)
        cast = xp.asarray
        scales = Units(cast(fit.scales.low), cast(fit.scales.sd))
        values = shared_value(fit.shape, scales, cast(fit.theta), W, F)
        return (values * cast(weights)[:, None, None]).sum(0)

    return mean


def shared_member(
    shape: SharedShape,
    W: Array,
    F: Array,
    Y: Array,
    masks: Array,
    fold: Any,
    *,
    restarts: int,
    iterations: int,
    seed: int,
) -> LawMember:
    """Fit the shared law on all rows, and once per fold for its out-of-fold predictions."""
    full = fit_shared(shape, W, F, Y, restarts=restarts, iterations=iterations, seed=seed)[0]
    half = max(2, restarts // 2)
    parts = fit_shared(shape, W, F, Y, restarts=half, iterations=iterations, masks=masks, seed=seed)
    out = np.empty_like(Y)
    for k, part in enumerate(parts):
        out[fold == k] = _shared_mean(part)(W[fold == k], F[fold == k])
    return LawMember("shared law", _shared_mean(full), out)
