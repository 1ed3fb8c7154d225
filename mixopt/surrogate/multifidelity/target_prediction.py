"""Prediction at a size and horizon never trained at, with an interval that was tested first.

Losses of g mixtures at S sizes and T horizons go through one Gaussian process per metric over size
and length (``scale_gp.py``), the mixtures unrelated but for the law they share.
How far to trust it is measured too: shown only smaller sizes and earlier steps, the same model
predicts the largest and last losses that were really observed. Where its errors there are larger
than it claims, the interval is stretched by as much; how they go together over metrics says how
wide a weighted sum of them is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from mixopt.errors import SurrogateError
from mixopt.laws._arrays import Array
from mixopt.laws._lbfgs import Ints
from mixopt.surrogate.multifidelity.scale_gp import FidelityRows, fit_scale_gp

#: Horizons and mixtures from which the hyperparameters are learned; predictions use all.
_HORIZONS, _MIXTURES = 4, 10
#: Correlation of the metrics' errors where nothing was tested, and what one back-test's is held to
#: half-way: errors of other targets of RedPajama gave .14 to .44.
_UNTESTED_CORRELATION, _USUAL_CORRELATION = 0.5, 0.3


@dataclass(frozen=True)
class TargetPrediction:
    """Losses at the target.

    Args:
        mean: ``g x m`` (nats/token).
        sd: ``g x m`` standard deviations.
        tested_on: How the sd was found, in words.
        rank_agreement: ``S x T`` Spearman correlation over mixtures, mean over metrics, between
            the losses of each fidelity and those of the highest one; NaN where not to be had.
        correlation: Of the errors of two metrics, mean over pairs.
    """

    mean: Array
    sd: Array
    tested_on: str
    rank_agreement: Array
    correlation: float

    def combined(self, weights: Array) -> tuple[Array, Array]:
        """Mean and standard deviation ``g`` of the metrics' sum with weights ``m``."""
        return self.mean @ weights, combined_sd(self.sd, weights, self.correlation)


def combined_sd(sd: Array, weights: Array, correlation: float) -> Array:
    """Standard deviations ``g`` of a weighted sum of m errors of one common correlation.

    Args:
        sd: ``g x m``.
        weights: ``m``.
        correlation: From 0 (independent) to 1 (the widths add up).
    """
    together, apart = (sd @ np.abs(weights)) ** 2, sd**2 @ weights**2
    return np.asarray(np.sqrt(correlation * together + (1.0 - correlation) * apart))


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
    mean, sd = _predicted(parameters, tokens, Y, target)
    stretch, correlation, tested_on = _back_test(parameters, tokens, Y)
    return TargetPrediction(mean, sd * stretch, tested_on, rank_agreement(Y), correlation)


def _predicted(
    parameters: Array, tokens: Array, Y: Array, target: tuple[float, float]
) -> tuple[Array, Array]:
    """Mean and standard deviation ``g x m`` of one new run of each mixture."""
    g, m = Y.shape[:2]
    few = np.unique(np.linspace(0, len(tokens) - 1, _HORIZONS).round().astype(np.int64))
    seen = np.isfinite(Y).all(1).sum((1, 2))
    most = np.sort(np.argsort(-seen, kind="stable")[:_MIXTURES])
    rows, losses = _cells(parameters, tokens[few], Y[..., few], most)
    gp = fit_scale_gp(rows, losses, target).conditioned(
        *_cells(parameters, tokens, Y, np.arange(g))
    )
    none = np.zeros(g)
    wanted = FidelityRows(np.eye(g), none, none, np.full(g, -1)).at(target)
    mean, cov = gp.moments([(1.0, wanted)])
    variance = np.diagonal(cov, axis1=1, axis2=2).T
    return mean, np.sqrt(np.maximum(variance, 0.0) + gp.run_sd**2).reshape(g, m)


def _cells(
    parameters: Array, tokens: Array, Y: Array, mixtures: Ints
) -> tuple[FidelityRows, Array]:
    """The measured cells of some mixtures as rows, and their losses ``n x m``."""
    measured = np.isfinite(Y).all(1)
    at = np.argwhere(measured)
    at = at[np.isin(at[:, 0], mixtures)]
    run = at[:, 0] * len(parameters) + at[:, 1]
    rows = FidelityRows(np.eye(len(Y))[at[:, 0]], parameters[at[:, 1]], tokens[at[:, 2]], run)
    return rows, Y[at[:, 0], :, at[:, 1], at[:, 2]]


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


def _back_test(parameters: Array, tokens: Array, Y: Array) -> tuple[Array, float, str]:
    """Predict the highest fidelity out of lower ones.

    Returns:
        Factor per metric, never below 1, by which the errors exceed what was claimed; the metrics'
        correlation; and what was tested, in words.
    """
    sizes, steps = max(len(parameters) - 1, 1), max(2 * len(tokens) // 3, 1)
    seen = Y[:, :, :sizes, :steps]
    started = np.asarray(np.isfinite(seen).any((2, 3)))
    tested = np.isfinite(Y[:, :, -1, -1]).all(1) & started.all(1)
    if (sizes == len(parameters) and steps == len(tokens)) or tested.sum() < 3:
        words = "nothing: too few fidelities or mixtures to test on"
        return np.ones(Y.shape[1]), _UNTESTED_CORRELATION, words
    last = float(parameters[-1]), float(tokens[-1])
    mean, sd = _predicted(parameters[:sizes], tokens[:steps], seen[tested], last)
    error = (Y[tested, :, -1, -1] - mean) / sd
    size = (error**2).mean(0)
    # A metric's errors are nearly one number, the level's: they are held to those of all metrics.
    stretch = np.sqrt(np.maximum(0.5 * (size + size.mean()), 1.0))
    words = (
        f"{int(tested.sum())} mixtures at {last[0]:.3g} parameters and {last[1]:.3g} tokens, "
        f"predicted from lower fidelities; errors {np.sqrt(size.mean()):.2g} of what was claimed"
    )
    correlation = 0.5 * (_mean_correlation(error) + _USUAL_CORRELATION)
    return stretch, correlation, words


def _mean_correlation(error: Array) -> float:
    """Mean over pairs of columns of their correlation about 0, at least 0."""
    m = error.shape[1]
    if m < 2:
        return 1.0
    scaled = error / np.sqrt((error**2).mean(0))
    return float(np.clip((((scaled.T @ scaled) / len(error)).sum() - m) / (m * (m - 1)), 0.0, 1.0))


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
