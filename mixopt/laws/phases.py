"""How the order of phases enters a law: a recency-weighted effective mixture.

A token read at position t in [0, 1] of training counts in proportion to exp(kappa t), so a phase
over [a, b] has weight G(b) - G(a) with G(t) = expm1(kappa t) / expm1(kappa). At kappa = 0 the
effective mixture is the exposure; a large kappa looks at the end of training only. A phase whose
fraction is 0 has weight 0 whatever kappa is, so its weights cannot influence anything.

Where the learning rate is not constant, t is not the share of the tokens but that of the rate
summed over them (:func:`rate_fractions`): a token moves the model in proportion to the rate it is
read at, and is forgotten in proportion to the rates that follow.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mixopt.laws._arrays import Array, namespace
from mixopt.space.geometry.layout import RateClock

_SERIES_BELOW = 1e-3


def _cumulative(kappa: Any, t: Any) -> Any:
    """G(t) of the module's docstring; a series near kappa = 0, where the ratio is 0/0."""
    xp = namespace(t)
    small = abs(kappa) < _SERIES_BELOW
    safe = xp.where(small, xp.ones_like(kappa), kappa)
    series = t + kappa * t * (t - 1.0) / 2.0 * (1.0 + kappa * (2.0 * t - 1.0) / 6.0)
    return xp.where(small, series, xp.expm1(safe * t) / xp.expm1(safe))


def _cumulative_slope(kappa: Array, t: Array) -> Array:
    """dG/dkappa."""
    small = np.abs(kappa) < _SERIES_BELOW
    k = np.where(small, 1.0, kappa)
    series = t * (t - 1.0) / 2.0 + kappa * t * (t - 1.0) * (2.0 * t - 1.0) / 6.0
    full = (t * np.exp(k * t) - np.expm1(k * t) * np.exp(k) / np.expm1(k)) / np.expm1(k)
    return np.where(small, series, full)


def _edges(fractions: Any) -> tuple[Any, Any]:
    end = fractions.cumsum(-1)
    return end - fractions, end


def position_weights(kappa: Any, fractions: Any, *, slope: bool = False) -> Any:
    """Weight of each phase, or its derivative in kappa (numpy only).

    Args:
        kappa: Recency, any shape that broadcasts against ``... x 1``.
        fractions: ``... x P`` shares of the training tokens, summing to 1.
        slope: Return the derivative.

    Returns:
        ``... x P`` weights summing to 1 (numpy or torch, as given).
    """
    G = _cumulative_slope if slope else _cumulative
    ends = G(kappa, fractions.cumsum(-1))
    # A phase starts where the one before it ends, so one without tokens weighs exactly nothing.
    return ends - namespace(ends).concatenate([0.0 * ends[..., :1], ends[..., :-1]], -1)


def effective_mixture(kappa: Any, W: Any, F: Any, *, slope: bool = False) -> Any:
    """The mixture a law sees, or its derivative in kappa (numpy only).

    Args:
        kappa: Recencies of any shape ``...``.
        W: ``n x P x d`` weights per phase.
        F: ``n x P`` fractions.
        slope: Return the derivative.

    Returns:
        ``... x n x d``.
    """
    omega = position_weights(kappa[..., None, None], F, slope=slope)
    rows = omega.reshape(-1, *F.shape).swapaxes(0, 1) @ W
    return rows.swapaxes(0, 1).reshape(*kappa.shape, *rows.shape[::2])


def rate_fractions(clock: RateClock | None, F: Any) -> Any:
    """Each phase's share of the learning rate summed over the run.

    Args:
        clock: How the rate falls; None to leave the fractions as they are.
        F: ``... x P`` shares of the training tokens.

    Returns:
        ``... x P`` shares that sum to 1 (numpy or torch, as given).
    """
    if clock is None:
        return F
    start, end = _edges(F)
    xp = namespace(F)
    table = xp.asarray(clock.table, dtype=F.dtype)
    shared = _read(table, end) - _read(table, start)
    follows = xp.asarray([float(own is None) for own in clock.own], dtype=F.dtype)
    own = xp.asarray([own or 0.0 for own in clock.own], dtype=F.dtype)
    rates = follows * shared + (1.0 - follows) * own * F
    return rates / rates.sum(-1)[..., None]


def _read(table: Any, t: Any) -> Any:
    """The table at ``t`` in [0, 1], linear between its entries."""
    last = len(table) - 1
    place = t * last
    below = place.astype(np.int64) if isinstance(t, np.ndarray) else place.long()
    below = below.clip(0, last - 1)
    return table[below] + (place - below) * (table[below + 1] - table[below])
