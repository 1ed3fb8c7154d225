"""The exponential mixing law as its authors use it, one metric at a time.

L(r) = c + exp(t . r), the form M4 of Ye et al. (arXiv 2403.16952), whose factor k is absorbed by t
since weights sum to 1. The same form is olmix's log-linear law.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

from mixopt.bench.tables import Array

#: Width of the Huber loss (nats/token) in the authors' code.
_DELTA = 0.02
#: Floors tried, as shares of the observed range below the least loss.
_FLOORS = (0.02, 0.1, 0.3, 1.0, 3.0)


def fit_loglinear(X: Array, y: Array) -> Array:
    """Fit one metric.

    The floor c is scanned with a least-squares fit of log(L - c), then all is refined together
    under the Huber loss with the analytic Jacobian.

    Args:
        X: ``n x d`` weights.
        y: ``n`` losses (nats/token).

    Returns:
        ``d + 1`` numbers: c, then t.
    """
    starts = [_start(X, y, share) for share in _FLOORS]
    best = min(starts, key=lambda p: float(np.abs(loglinear(p, X) - y).sum()))
    top = y.min()
    lower = np.append(min(0.0, top - 1.0), np.full(X.shape[1], -30.0))
    upper = np.append(top, np.full(X.shape[1], 30.0))

    def residual(p: Array) -> Array:
        return loglinear(p, X) - y

    def slope(p: Array) -> Array:
        return np.column_stack([np.ones(len(X)), _rise(p, X)[:, None] * X])

    fit = least_squares(
        residual,
        np.clip(best, lower + 1e-9, upper - 1e-9),
        jac=slope,
        bounds=(lower, upper),
        loss="huber",
        f_scale=_DELTA,
        max_nfev=200,
    )
    return np.asarray(fit.x)


def loglinear(p: Array, X: Array) -> Array:
    """``n`` losses of weights ``n x d`` at the parameters ``p`` of :func:`fit_loglinear`."""
    return np.asarray(p[0] + _rise(p, X))


def _rise(p: Array, X: Array) -> Array:
    return np.asarray(np.exp(np.clip(X @ p[1:], -30.0, 30.0)))


def _start(X: Array, y: Array, share: float) -> Array:
    floor = max(y.min() - share * max(float(np.ptp(y)), 1e-6), 0.0 if y.min() > 0 else -np.inf)
    t = np.linalg.lstsq(X, np.log(np.maximum(y - floor, 1e-9)), rcond=None)[0]
    return np.append(floor, t)
