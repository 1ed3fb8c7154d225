"""Out-of-fold stacking and calibration: how much to believe each member."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from mixopt.laws._arrays import Array
from mixopt.laws._lbfgs import Ints, minimise
from mixopt.surrogate.factorise import inverse

#: Strength with which the stack is held at its default weights: a member's weight moves by one
#: half only for evidence worth this much of a log likelihood.
_HOLD = 10.0
_STACK_STEPS = 8
#: The default weights are left only for a gain this sure (log likelihood) and this large (ratio of
#: mean squared errors): learned weights cost a little wherever the default is not badly wrong.
_SURE, _LARGE = 6.0, 1.25
#: Prior of the trend of the errors' size in the predicted loss.
_TREND = (0.2, 0.2)
_POOLED_ROWS = 8.0
#: Errors of different metrics are held towards independence as if by this many rows.
_INDEPENDENT_ROWS = 10.0
#: Prior sd of the log factor on the latent sd, where the noise is known.
_FACTOR_SD = 0.5
#: Least factor on the claimed sds: losses that are predicted exactly leave errors of 0.
_LEAST_FACTOR = 1e-6


def fold_masks(groups: Ints, folds: int, seed: int) -> tuple[Array, Ints]:
    """Cut rows into folds, replicates of one schedule always together.

    Args:
        groups: ``n`` group numbers; rows with the same schedule share one.
        folds: Wanted number of folds; 0 for none.
        seed: Of the shuffle.

    Returns:
        ``folds x n`` masks of the rows each fold is trained on, and the fold of each row.
    """
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    # Groups in the order of their first rows, so that the cut does not depend on their names.
    rank = np.argsort(np.argsort(first))
    if folds == 0:
        return np.empty((0, len(groups))), np.full(len(groups), -1)
    folds = min(folds, len(first))
    shuffled = np.random.default_rng(seed).permutation(len(first))
    fold = np.asarray(shuffled[rank][number] % folds, dtype=np.int64)
    return (fold[None] != np.arange(folds)[:, None]).astype(float), fold


def stack_weights(predictions: Array, y: Array, default: Array) -> Array:
    """Convex weights of the members for one metric: ``default``, unless it is clearly wrong.

    The alternative minimises n/2 log(mean squared out-of-fold error) + hold * |w - default|^2 over
    the simplex by reweighted quadratic programmes, each solved exactly by trying every support.

    Args:
        predictions: ``k x n`` out-of-fold predictions of the k members.
        y: ``n`` losses.
        default: ``k`` weights used without evidence against them.

    Returns:
        ``k`` weights, not negative, summing to 1.
    """
    error = predictions - y
    A = error @ error.T / len(y)
    w = default
    for _ in range(_STACK_STEPS):
        mse = max(float(w @ A @ w), 1e-18)
        H = len(y) / mse * A + 2.0 * _HOLD * np.eye(len(w))
        w = 0.5 * (w + _simplex_quadratic(H, 2.0 * _HOLD * default))
    ratio = max(float(default @ A @ default), 1e-18) / max(float(w @ A @ w), 1e-18)
    sure = 0.5 * len(y) * np.log(ratio) > _SURE and ratio > _LARGE
    return w if sure else default


def _simplex_quadratic(H: Array, b: Array) -> Array:
    """Minimise w'Hw/2 - b'w over the simplex, exactly, for a handful of weights."""
    k = len(b)
    best, weights = np.inf, np.full(k, 1.0 / k)
    for size in range(1, k + 1):
        for support in combinations(range(k), size):
            at = list(support)
            part = inverse(H[np.ix_(at, at)])
            free, pull = part @ b[at], part.sum(1)
            inside = free + pull * (1.0 - free.sum()) / pull.sum()
            if (inside < 0).any():
                continue
            w = np.zeros(k)
            w[at] = inside
            value = float(0.5 * w @ H @ w - b @ w)
            if value < best:
                best, weights = value, w
    return weights


def calibrate(residual: Array, variance: Array, level: Array) -> tuple[Array, Array]:
    """Size of the errors against what was claimed: sd times c exp(h t).

    The trend h is the maximum a posteriori of a Gaussian likelihood; c is then the RMS of the
    standardised residuals, shrunk towards that of all metrics, since one metric's few rows make a
    loose estimate.

    Args:
        residual: ``n x m`` observed minus out-of-fold predicted.
        variance: ``n x m`` out-of-fold predictive variances, noise included.
        level: ``n x m`` standardised out-of-fold predictions t.

    Returns:
        ``m`` factors c and ``m`` trends h.
    """
    ratio, t = (residual**2 / variance).T, level.T

    def objective(theta: Array, which: Ints) -> tuple[Array, Array]:
        log_sd = theta[:, :1] + theta[:, 1:] * t[which]
        z = ratio[which] * np.exp(-2.0 * log_sd)
        dev = (theta[:, 1] - _TREND[0]) / _TREND[1]
        value = (log_sd + 0.5 * z).sum(1) + 0.5 * dev**2
        slope = 1.0 - z
        prior = np.stack([np.zeros_like(dev), dev / _TREND[1]], axis=1)
        return value, np.stack([slope.sum(1), (slope * t[which]).sum(1)], axis=1) + prior

    start = np.stack([0.5 * np.log(ratio.mean(1) + 1e-6), np.full(len(t), _TREND[0])], axis=1)
    trend = minimise(objective, start, iterations=50).theta[:, 1]
    scaled = (ratio * np.exp(-2.0 * trend[:, None] * t)).mean(1)
    n = ratio.shape[1]
    factor = np.sqrt((n * scaled + _POOLED_ROWS * scaled.mean()) / (n + _POOLED_ROWS))
    return np.maximum(factor, _LEAST_FACTOR), trend


def error_correlation(residuals: Array) -> Array:
    """Correlation ``m x m`` of the metrics' standardised out-of-fold errors ``n x m``.

    Errors about a mean of 0, shrunk towards independence: what several metrics get wrong together
    does not average out in an objective of many.
    """
    n, m = residuals.shape
    moment = residuals.T @ residuals / n
    size = np.sqrt(np.maximum(np.diag(moment), 1e-12))
    share = n / (n + _INDEPENDENT_ROWS)
    R = share * moment / np.outer(size, size) + (1 - share) * np.eye(m)
    np.fill_diagonal(R, 1.0)
    return np.asarray(R)


def calibrate_beside(residual: Array, latent: Array, noise: Array, size: Array) -> Array:
    """By how much latent sds must grow so that, beside a known noise, errors have the size claimed.

    The maximum a posteriori of one factor per metric with a log-normal prior around 1, and never
    less than 1: errors that a larger noise explains may still be the surrogate's own.

    Args:
        residual: ``n x m`` observed minus out-of-fold predicted.
        latent: ``n x m`` out-of-fold predictive variances, noise left out.
        noise: ``n x m`` variances of one observation.
        size: ``n x m`` factors already put on the latent sds.
    """
    sq, v, n = (residual**2).T, (latent * size**2).T, noise.T

    def objective(theta: Array, which: Ints) -> tuple[Array, Array]:
        scaled = v[which] * np.exp(2.0 * theta)
        total = scaled + n[which]
        dev = theta / _FACTOR_SD
        value = 0.5 * (np.log(total) + sq[which] / total).sum(1) + 0.5 * (dev**2).sum(1)
        slope = scaled / total * (1.0 - sq[which] / total)
        return value, slope.sum(1)[:, None] + dev / _FACTOR_SD

    found = minimise(objective, np.zeros((len(v), 1)), iterations=50).theta[:, 0]
    return np.asarray(np.exp(np.maximum(found, 0.0)))
