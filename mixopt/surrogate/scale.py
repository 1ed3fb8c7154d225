"""Prediction at a size and horizon never trained at, with an interval that was tested first.

Losses of g mixtures at S sizes and T horizons go through nested step and size laws. How far to
trust the result is measured, not assumed: the same laws, shown only smaller sizes and earlier
steps, predict the largest and last losses that were really observed; their errors, stretched by
how much farther the target lies, become the standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from mixopt.errors import SurrogateError
from mixopt.laws import nested_prediction
from mixopt.laws._arrays import Array

#: Relative sd (of the loss) claimed when there is nothing to test on.
_UNTESTED = 0.05
#: Metrics' own back-test errors are held towards the common one as if by this many mixtures.
_POOLED = 4.0


@dataclass(frozen=True)
class TargetPrediction:
    """Losses at the target.

    Args:
        mean: ``g x m`` (nats/token).
        sd: ``g x m`` standard deviations.
        tested_on: How the sd was found, in words.
        rank_agreement: ``S x T`` Spearman correlation over mixtures, mean over metrics, between
            the losses of each fidelity and those of the highest one; NaN where not to be had.
    """

    mean: Array
    sd: Array
    tested_on: str
    rank_agreement: Array


def predict_target(
    parameters: Array, tokens: Array, Y: Array, target: tuple[float, float]
) -> TargetPrediction:
    """Predict every mixture at the target fidelity.

    Args:
        parameters: ``S`` sizes, ascending (non-embedding parameters).
        tokens: ``T`` horizons, ascending (tokens).
        Y: ``g x m x S x T`` losses (nats/token), NaN where not measured.
        target: Parameters and tokens of interest.

    Raises:
        SurrogateError: If shapes disagree, scales do not ascend, or a mixture has no loss at all.
    """
    parameters, tokens = np.asarray(parameters, dtype=float), np.asarray(tokens, dtype=float)
    Y = np.asarray(Y, dtype=float)
    _check(parameters, tokens, Y)
    mean = nested_prediction(parameters, tokens, Y, target)
    sd, tested_on = _back_test(parameters, tokens, Y, target, mean)
    return TargetPrediction(mean, sd, tested_on, rank_agreement(Y))


def _check(parameters: Array, tokens: Array, Y: Array) -> None:
    if Y.ndim != 4 or Y.shape[2:] != (len(parameters), len(tokens)):
        raise SurrogateError(
            f"losses must be mixtures x metrics x {len(parameters)} sizes x {len(tokens)} "
            f"horizons; got {Y.shape}",
            "put NaN where a fidelity was not run",
        )
    for name, scale in (("parameters", parameters), ("tokens", tokens)):
        if (np.diff(scale) <= 0).any() or (scale <= 0).any():
            raise SurrogateError(
                f"{name} must be positive and ascend; got {scale.tolist()}", "sort the fidelities"
            )
    for mixture, metric in np.argwhere(~np.isfinite(Y).any((2, 3))):
        raise SurrogateError(
            f"mixture {mixture} has no finite loss for metric {metric}", "leave the mixture out"
        )


def _distance(parameters: Array, tokens: Array, target: tuple[float, float]) -> float:
    """How far a target lies beyond the highest fidelity, in log units of both scales."""
    size = max(np.log(target[0] / parameters[-1]), 0.0)
    return float(size + max(np.log(target[1] / tokens[-1]), 0.0))


def _back_test(
    parameters: Array, tokens: Array, Y: Array, target: tuple[float, float], mean: Array
) -> tuple[Array, str]:
    """Standard deviation from predicting the highest fidelity out of lower ones."""
    sizes, steps = max(len(parameters) - 1, 1), max(2 * len(tokens) // 3, 1)
    seen = Y[:, :, :sizes, :steps]
    started = np.asarray(np.isfinite(seen).any((2, 3)))
    tested = np.isfinite(Y[:, :, -1, -1]).all(1) & started.all(1)
    if (sizes == len(parameters) and steps == len(tokens)) or tested.sum() < 3:
        return _UNTESTED * np.abs(mean), "nothing: too few fidelities or mixtures to test on"
    last = float(parameters[-1]), float(tokens[-1])
    predicted = nested_prediction(parameters[:sizes], tokens[:steps], seen[tested], last)
    error = ((Y[tested, :, -1, -1] - predicted) ** 2).mean(0)
    count = float(tested.sum())
    pooled = (count * error + _POOLED * error.mean()) / (count + _POOLED)
    reach = _distance(parameters[:sizes], tokens[:steps], last)
    stretch = max(_distance(parameters, tokens, target) / reach, 1.0)
    words = (
        f"{int(count)} mixtures at {last[0]:.3g} parameters and {last[1]:.3g} tokens, predicted "
        f"from lower fidelities; errors stretched by {stretch:.2g}"
    )
    return np.tile(np.sqrt(pooled) * stretch, (len(mean), 1)), words


def rank_agreement(Y: Array) -> Array:
    """Spearman correlation over mixtures with the highest fidelity, mean over metrics.

    Args:
        Y: ``g x m x S x T`` losses, NaN where not measured.

    Returns:
        ``S x T``, NaN where fewer than 3 mixtures were run at both.
    """
    out = np.full(Y.shape[2:], np.nan)
    top = Y[:, :, -1, -1]
    for s, t in np.ndindex(*out.shape):
        both = np.isfinite(Y[:, :, s, t]).all(1) & np.isfinite(top).all(1)
        if both.sum() >= 3:
            pairs = zip(Y[both, :, s, t].T, top[both].T, strict=True)
            out[s, t] = np.mean([spearmanr(a, b)[0] for a, b in pairs])
    return out
