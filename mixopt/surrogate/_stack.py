"""Out-of-fold stacking, fallback and calibration: how much to believe each member."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from mixopt.laws._arrays import Array
from mixopt.laws._lbfgs import Ints

#: Rows' worth of evidence with which the stack is held at its default weights.
_PRIOR_ROWS = 16.0


def fold_masks(groups: Ints, folds: int, seed: int) -> tuple[Array, Ints]:
    """Cut rows into folds, replicates of one schedule always together.

    Args:
        groups: ``n`` group numbers; rows with the same schedule share one.
        folds: Wanted number of folds.
        seed: Of the shuffle.

    Returns:
        ``folds x n`` masks of the rows each fold is trained on, and the fold of each row.
    """
    names = np.unique(groups)
    folds = min(folds, len(names))
    shuffled = np.random.default_rng(seed).permutation(len(names))
    fold_of_group = np.empty(len(names), dtype=np.int64)
    fold_of_group[shuffled] = np.arange(len(names)) % folds
    fold = fold_of_group[np.searchsorted(names, groups)]
    return (fold[None] != np.arange(folds)[:, None]).astype(float), fold


def stack_weights(predictions: Array, y: Array, default: Array, usable: list[int]) -> Array:
    """Convex weights of the members for one metric, by ridge towards ``default``.

    The penalty is that of a fixed number of pseudo-rows on which the members disagree as they do
    on average, so evidence takes over as rows come in.

    Args:
        predictions: ``k x n`` out-of-fold predictions of the k members.
        y: ``n`` losses.
        default: ``k`` weights to start from.
        usable: Members that may get weight at all.

    Returns:
        ``k`` weights, not negative, summing to 1.
    """
    k = len(predictions)
    spread = predictions - predictions.mean(0)
    ridge = _PRIOR_ROWS * (spread**2).mean() + 1e-12
    A = (predictions - y) @ (predictions - y).T + ridge * np.eye(k)
    b = ridge * default
    best, weights = np.inf, default
    for size in range(1, len(usable) + 1):
        for support in combinations(usable, size):
            w = _equality_solution(A, b, list(support), k)
            value = 0.5 * w @ A @ w - b @ w
            if (w >= 0).all() and value < best:
                best, weights = value, w
    return np.asarray(weights)


def _equality_solution(A: Array, b: Array, support: list[int], k: int) -> Array:
    """Minimise w'Aw/2 - b'w over the support with weights summing to 1 (a KKT system)."""
    s = len(support)
    kkt = np.zeros((s + 1, s + 1))
    kkt[:s, :s], kkt[:s, s], kkt[s, :s] = A[np.ix_(support, support)], 1.0, 1.0
    solution = np.linalg.lstsq(kkt, np.append(b[support], 1.0), rcond=None)[0]
    w = np.zeros(k)
    w[support] = solution[:s]
    return w


def calibration(residual: Array, variance: Array) -> Array:
    """Factor on the standard deviation of each metric, from out-of-fold residuals.

    Args:
        residual: ``n x m`` observed minus out-of-fold predicted.
        variance: ``n x m`` out-of-fold predictive variances, noise included.

    Returns:
        ``m`` factors: the RMS of the standardised residuals, shrunk towards the RMS of all
        metrics together, since one metric's few rows make a loose estimate.
    """
    ratio = residual**2 / variance
    n = len(ratio)
    pooled = ratio.mean()
    return np.asarray(np.sqrt((n * ratio.mean(0) + 8.0 * pooled) / (n + 8.0)))
