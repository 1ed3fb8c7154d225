"""Step and size laws with priors, and their nesting: small runs predict a large one.

Both laws have one form, L(x) = exp(c) + exp(s - alpha log(x / x0)), in training tokens or in
non-embedding parameters (Ye et al., arXiv 2403.16952, section 4). Each series (a mixture and a
metric) has its own c and s; alpha is tied over many series, since a handful of points cannot
carry three parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixopt.laws._arrays import Array
from mixopt.laws._lbfgs import Ints, minimise
from mixopt.laws.fitter import huber

#: Residual (nats/token) that counts as one sd.
_UNIT = 0.005
#: L-BFGS steps.
_ITERATIONS = 1000


@dataclass(frozen=True)
class PowerFit:
    """Fitted power laws.

    Args:
        c: ``g`` log floors.
        s: ``g`` log reducible losses at ``x0``.
        alpha: ``g`` exponents (equal where tied).
        x0: Reference scale.
    """

    c: Array
    s: Array
    alpha: Array
    x0: float

    def predict(self, x: float) -> Array:
        """``g`` losses at scale ``x`` (nats/token)."""
        return np.asarray(np.exp(self.c) + np.exp(self.s - self.alpha * np.log(x / self.x0)))


@dataclass(frozen=True)
class PowerPrior:
    """Normal priors: log alpha; the floor's share of the lowest loss (log); log reducible part."""

    log_alpha: tuple[float, float] = (-0.9, 0.7)
    log_floor: tuple[float, float] = (-0.3, 0.4)
    log_reducible: tuple[float, float] = (-1.2, 1.0)


class _PowerObjective:
    """One problem: ``theta = [log alpha_1..t, c_1..g, s_1..g]``."""

    def __init__(self, log_x: Array, Y: Array, ties: Ints, prior: PowerPrior) -> None:
        self.log_x, self.seen, self.ties, self.prior = log_x, np.isfinite(Y), ties, prior
        self.Y = np.where(self.seen, Y, 0.0)
        level = np.log(np.where(self.seen, Y, np.inf).min(1))
        tied, g = int(ties.max()) + 1, len(Y)
        self.split = tied, tied + g
        self.mean = np.concatenate(
            [
                np.full(tied, prior.log_alpha[0]),
                level + prior.log_floor[0],
                level + prior.log_reducible[0],
            ]
        )
        self.sd = np.concatenate(
            [
                np.full(tied, prior.log_alpha[1]),
                np.full(g, prior.log_floor[1]),
                np.full(g, prior.log_reducible[1]),
            ]
        )

    def __call__(self, theta: Array) -> tuple[Array, Array]:
        a, b = self.split
        alpha = np.exp(theta[:, :a])[:, self.ties, None]
        floor = np.exp(theta[:, a:b])[:, :, None]
        rest = np.exp(theta[:, b:, None] - alpha * self.log_x)
        z = np.where(self.seen, floor + rest - self.Y, 0.0) / _UNIT
        loss, slope = huber(z)
        g = slope / _UNIT
        dlog_alpha = (-g * rest * self.log_x * alpha).sum(2)
        tied = np.zeros((len(theta), a))
        np.add.at(tied.T, self.ties, dlog_alpha.T)
        grad = np.concatenate([tied, (g * floor).sum(2), (g * rest).sum(2)], axis=1)
        dev = (theta - self.mean) / self.sd
        value = loss.sum((1, 2)) + 0.5 * (dev**2).sum(1)
        return value, grad + dev / self.sd


def fit_power(
    x: Array,
    Y: Array,
    ties: Ints | None = None,
) -> PowerFit:
    """Fit a power law to every series, exponents tied within groups.

    Args:
        x: ``T`` scales (tokens or non-embedding parameters).
        Y: ``g x T`` losses (nats/token), NaN where not measured.
        ties: ``g`` group numbers 0, 1, ...; series of one group share alpha. Default: all.
    """
    x, Y = np.asarray(x, dtype=float), np.asarray(Y, dtype=float)
    ties = np.zeros(len(Y), dtype=np.int64) if ties is None else np.asarray(ties)
    x0 = float(np.exp(np.log(x).mean()))
    objective = _PowerObjective(np.log(x / x0), Y, ties, PowerPrior())
    end = minimise(
        lambda theta, _: objective(theta), objective.mean[None], iterations=_ITERATIONS, tol=1e-9
    )
    a, b = objective.split
    theta = end.theta[0]
    return PowerFit(theta[a:b], theta[b:], np.exp(theta[:a])[ties], x0)


def nested_prediction(
    parameters: Array, tokens: Array, Y: Array, target: tuple[float, float]
) -> Array:
    """The published nesting: a step law per (mixture, metric, size), then a size law.

    Step exponents are tied over the metrics of one mixture at one size; the size exponent is tied
    over everything.

    Args:
        parameters: ``S`` sizes (non-embedding parameters).
        tokens: ``T`` tokens at which losses were read.
        Y: ``g x m x S x T`` losses of g mixtures and m metrics, NaN where missing.
        target: Parameters and tokens wanted.

    Returns:
        ``g x m`` losses (nats/token).
    """
    g, m, S, T = Y.shape
    ties = np.repeat(np.arange(g * S), m)
    series = Y.transpose(0, 2, 1, 3).reshape(g * S * m, T)
    seen = np.isfinite(series).any(1)
    kept = np.unique(ties[seen], return_inverse=True)[1]
    at_target = np.full(g * S * m, np.nan)
    at_target[seen] = fit_power(tokens, series[seen], kept).predict(target[1])
    by_size = at_target.reshape(g, S, m).transpose(0, 2, 1).reshape(g * m, S)
    return fit_power(parameters, by_size).predict(target[0]).reshape(g, m)
