"""How much old data continued training needs to keep what the model could do.

Ye et al. (arXiv 2403.16952), section 5: with two sources the loss on the old domains is
L = c + exp(k r + b) in the old share r. The critical share is the smallest r whose predicted loss
is not above that of the checkpoint one starts from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from mixopt.errors import SurrogateError
from mixopt.laws._arrays import Array

#: Slopes scanned: from an almost straight line to a loss that has levelled off by a tenth.
_SLOPES = -np.geomspace(0.1, 40.0, 400)
#: Residuals beyond this (nats/token) count linearly.
_DELTA = 0.01


@dataclass(frozen=True)
class ShareLaw:
    """L = c + exp(k r + b) in nats/token, k < 0."""

    c: float
    k: float
    b: float

    def predict(self, share: Array) -> Array:
        """Losses at ``n`` old-data shares."""
        return np.asarray(self.c + np.exp(self.k * np.asarray(share) + self.b))


@dataclass(frozen=True)
class CriticalShare:
    """A critical share and its interval.

    Args:
        share: Smallest share that keeps the old loss, 0 when none is needed.
        low: Lower end of the interval.
        high: Upper end; 1 where even old data alone may not do.
        band: Half of the interval of the law's loss at the share (nats/token).
        law: The law behind it.
    """

    share: float
    low: float
    high: float
    band: float
    law: ShareLaw


def fit_share_law(share: Array, loss: Array) -> ShareLaw:
    """Fit the law to runs of one length, by a scan of the slope and a Huber refinement.

    Args:
        share: ``n`` old-data shares, at least 3 of them different.
        loss: ``n`` losses on the old domains (nats/token).

    Raises:
        SurrogateError: If there are fewer than 3 shares, a value is not finite, or the loss does
            not fall with the share.
    """
    share, loss = np.asarray(share, dtype=float), np.asarray(loss, dtype=float)
    if not (np.isfinite(share).all() and np.isfinite(loss).all()):
        raise SurrogateError("every share and loss must be finite", "leave failed runs out")
    if len(np.unique(share)) < 3:
        raise SurrogateError(
            f"the law of the old share needs 3 different shares; got {np.unique(share).tolist()}",
            "train at one more share",
        )
    start = _scan(share, loss[None])[0]
    if start[1] <= 0:
        raise SurrogateError(
            f"the old loss must fall as the old share rises; from share {share.min():.3g} to "
            f"{share.max():.3g} it goes from {loss[share.argmin()]:.4f} to "
            f"{loss[share.argmax()]:.4f}",
            "check which source is the old one",
        )

    def residual(p: Array) -> Array:
        return np.asarray(p[0] + np.exp(p[1] * share + p[2]) - loss)

    x0 = np.array([start[0], start[2], np.log(start[1])])
    bounds = ([-np.inf, _SLOPES[-1], -np.inf], [np.inf, _SLOPES[0], np.inf])
    fit = least_squares(residual, x0, bounds=bounds, loss="huber", f_scale=_DELTA, x_scale="jac")
    return ShareLaw(*(float(v) for v in fit.x))


def _scan(share: Array, losses: Array) -> Array:
    """Best ``c, A, k`` of L = c + A exp(k r) for each row of ``B x n`` losses: ``B x 3``."""
    rise = np.exp(_SLOPES[:, None] * share)
    center = rise - rise.mean(1, keepdims=True)
    A = losses @ center.T / (center**2).sum(1)
    c = losses.mean(1, keepdims=True) - A * rise.mean(1)
    fitted = c[..., None] + A[..., None] * rise
    best = ((losses[:, None] - fitted) ** 2).sum(-1).argmin(1)
    rows = np.arange(len(losses))
    return np.stack([c[rows, best], A[rows, best], _SLOPES[best]], axis=1)


def _crossing(c: Array, A: Array, k: Array, base: Array) -> Array:
    """Share at which the law meets the base loss: 0 if below it throughout, inf if never."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.log(np.maximum(base - c, 0.0) / A) / k
    falls = A > 0
    share = np.where(falls & (base > c), np.maximum(share, 0.0), np.inf)
    return np.where(~falls & (c + A <= base), 0.0, share)


def solve_critical_share(law: ShareLaw, base_loss: float) -> float:
    """The smallest old-data share whose predicted loss is at most ``base_loss``.

    Raises:
        SurrogateError: If even old data alone would not keep the loss.
    """
    A = np.array([np.exp(law.b)])
    share = _crossing(np.array([law.c]), A, np.array([law.k]), np.array([base_loss]))[0]
    if share > 1.0:
        raise SurrogateError(
            f"no old-data share keeps the old loss at {base_loss:.4f}: the law gives "
            f"{law.predict(np.ones(1))[0]:.4f} with old data alone",
            "train longer, or lower the learning rate",
        )
    return float(share)


def share_noise(shares: list[Array], losses: list[Array]) -> float:
    """Noise of one run (nats/token), pooled over groups of runs that each have their own law.

    Raises:
        SurrogateError: If no group has more than the law's 3 parameters.
    """
    squares, freedom = 0.0, 0
    for share, loss in zip(shares, losses, strict=True):
        law = fit_share_law(share, loss)
        squares += float(((law.predict(share) - loss) ** 2).sum())
        freedom += max(len(share) - 3, 0)
    if freedom == 0:
        raise SurrogateError(
            "the noise cannot be told from the law: every group has 3 runs or fewer",
            "train at one more share",
        )
    return float(np.sqrt(squares / freedom))


def critical_share(
    share: Array,
    loss: Array,
    base_loss: float,
    *,
    noise: float,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> CriticalShare:
    """The critical share with an interval by parametric bootstrap.

    Each draw adds noise to the fitted losses and to the base loss, and solves again.

    Args:
        share: ``n`` old-data shares.
        loss: ``n`` losses on the old domains (nats/token).
        base_loss: The same loss of the checkpoint that training continues from.
        noise: Standard deviation of one run's loss, see :func:`share_noise`.
        level: Probability of the interval.
        draws: Bootstrap draws.
        seed: Of the draws.

    Raises:
        SurrogateError: If the law cannot be fitted or no share keeps the loss.
    """
    law = fit_share_law(share, loss)
    value = solve_critical_share(law, base_loss)
    rng = np.random.default_rng(seed)
    fitted = law.predict(np.asarray(share, dtype=float))
    redrawn = fitted + noise * rng.standard_normal((draws, len(fitted)))
    base = base_loss + noise * rng.standard_normal(draws)
    c, A, k = _scan(np.asarray(share, dtype=float), redrawn).T
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(np.minimum(_crossing(c, A, k, base), 1.0), ends)
    bottom, top = np.quantile(c + A * np.exp(k * value), ends)
    return CriticalShare(value, float(low), float(high), float(top - bottom) / 2, law)
