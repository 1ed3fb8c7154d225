"""Noise of one observation, learned from schedules that were trained with several seeds.

Notation: m metrics; G schedules with replicates; t the standardised predicted loss, u how near a
mixture is to a vertex. The model is log var = a_m + 2 h_m t + 2 v u, a few numbers held by priors
to what the surrogate would say without replicates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mixopt.laws._arrays import Array
from mixopt.laws._lbfgs import Ints
from mixopt.surrogate.ensemble.data import Data

#: Levels and nearness are cut here, in sds of the rows, so that no corner gets an absurd noise.
LIMIT = 2.0

#: Prior sds, in log variance, of what all metrics share and of a metric's own part: the noise at
#: the middle, its slope in the level, and (shared only) its slope in the nearness to a vertex.
_SHARED = (1.5, 0.5, 0.3)
_OWN = (0.3, 0.2)
_NEWTON = 50


@dataclass(frozen=True)
class Noise:
    """Variance of one observation as a function of the schedule; arguments hold one per metric.

    Args:
        base: Variances at the middle of the rows (squared nats/token).
        trend: Slopes h of the log sd in the level.
        vertex: Slopes v of the log sd in the nearness to a vertex.
        offset: Means of the losses.
        scale: Sds of the losses.
        near: Mean and sd over the rows of the concentration of the exposure.
    """

    base: Tensor
    trend: Tensor
    vertex: Tensor
    offset: Tensor
    scale: Tensor
    near: tuple[float, float]

    def only(self, which: list[int]) -> Noise:
        """The noise of some of the metrics."""
        base, trend, vertex = self.base[which], self.trend[which], self.vertex[which]
        return Noise(base, trend, vertex, self.offset[which], self.scale[which], self.near)

    def variance(self, mean: Tensor, W: Tensor, F: Tensor) -> Tensor:
        """``... x m`` at predicted losses ``... x m`` of rows ``... x P x d``, ``... x P``."""
        t = ((mean - self.offset) / self.scale).clamp(-LIMIT, LIMIT)
        middle, spread = self.near
        u = ((concentration(W, F) - middle) / spread).clamp(-LIMIT, LIMIT)
        return self.base * torch.exp(2.0 * (self.trend * t + self.vertex * u[..., None]))

    def at(self, mean: Array, W: Array, F: Array) -> Array:
        """``n x m`` variances at predicted losses ``n x m`` of rows, as numpy arrays."""
        return np.asarray(self.variance(*(torch.as_tensor(v) for v in (mean, W, F))).numpy())

    def relative(self, mean: Array, W: Array, F: Array) -> Array:
        """The same over their geometric mean, that of the typical row."""
        logs = np.log(self.at(mean, W, F))
        return np.asarray(np.exp(logs - logs.mean(0)))


def concentration(W: Any, F: Any) -> Any:
    """Sum of squared exposures of rows ``... x P x d``, ``... x P``: 1 at a vertex."""
    return ((W * F[..., None]).sum(-2) ** 2).sum(-1)


@dataclass(frozen=True)
class Replicates:
    """Within-group variances of the schedules that were trained several times.

    Args:
        first: ``G`` numbers of a row of each group.
        mean: ``G x m`` mean losses.
        variance: ``G x m`` sample variances.
        freedom: ``G`` degrees of freedom.
        effective: Number of independent metrics the m are worth: those of one run share its noise.
    """

    first: Ints
    mean: Array
    variance: Array
    freedom: Array
    effective: float


def replicates(data: Data) -> Replicates | None:
    """The groups with several different results; None where there is none.

    Rows that agree in every metric are one run told twice, and say nothing of the noise.
    """
    first, mean, variance, freedom, residual = [], [], [], [], []
    measured = (data.beside == 0).all(1)
    for group in np.unique(data.groups):
        rows = np.flatnonzero((data.groups == group) & measured)
        Y = np.unique(data.Y[rows], axis=0)
        if len(Y) < 2:
            continue
        first.append(rows[0])
        mean.append(Y.mean(0))
        variance.append(Y.var(0, ddof=1))
        freedom.append(len(Y) - 1.0)
        residual.append(Y - Y.mean(0))
    if not first:
        return None
    stacked = np.vstack(residual) / data.scale
    spread = np.sqrt((stacked**2).mean(0))
    moving = spread > 1e-9
    Z = stacked[:, moving] / spread[moving]
    R = Z.T @ Z / len(Z)
    effective = moving.sum() ** 2 / max(float((R**2).sum()), 1.0)
    return Replicates(
        first=np.array(first),
        mean=np.array(mean),
        variance=np.array(variance),
        freedom=np.array(freedom),
        effective=max(float(effective), 1.0),
    )


def learn_noise(data: Data, variance: Array, trend: Array) -> Noise | None:
    """The noise model; None without replicates.

    What all metrics share is found first, each metric counting for its part of the independent
    ones; then each metric departs from it as far as its own variances ask for. Both are maxima a
    posteriori of the chi-squared likelihood of the within-group variances, a convex problem.

    Args:
        data: The rows.
        variance: ``m`` variances the surrogate would claim without replicates.
        trend: ``m`` slopes of the log sd in the level it would claim.
    """
    seen = replicates(data)
    if seen is None:
        return None
    m = len(data.metrics)
    c = concentration(data.W, data.F)
    near = (float(c.mean()), float(max(c.std(), 1e-9)))
    t = np.clip((seen.mean - data.offset) / data.scale, -LIMIT, LIMIT)
    u = np.clip((c[seen.first] - near[0]) / near[1], -LIMIT, LIMIT)
    claimed = np.log(variance) + 2.0 * trend * t
    live = np.logical_not(data.constant)
    k = np.tile(seen.freedom[:, None], (1, m))
    ratio = seen.variance * np.exp(-claimed)
    # eta = shift + 2 h t + 2 v u on top of what is claimed; k (eta + ratio exp(-eta)) / 2 each.
    Z = np.stack([np.ones_like(t), t, np.tile(u[:, None], (1, m))], axis=-1)
    part = min(seen.effective / max(live.sum(), 1), 1.0)
    shared = _map(
        Z[:, live].reshape(-1, 3),
        (part * k[:, live]).ravel(),
        ratio[:, live].ravel(),
        np.zeros(3),
        np.array(_SHARED),
    )
    shift, slope = np.zeros(m), np.zeros(m)
    for i in np.flatnonzero(live):
        away = ratio[:, i] * np.exp(-2.0 * 0.5 * shared[2] * u)
        shift[i], slope[i] = _map(Z[:, i, :2], k[:, i], away, shared[:2], np.array(_OWN))
    return Noise(
        base=torch.as_tensor(variance * np.exp(shift)),
        trend=torch.as_tensor(trend + 0.5 * slope),
        vertex=torch.as_tensor(np.where(live, 0.5 * shared[2], 0.0)),
        offset=torch.as_tensor(data.offset),
        scale=torch.as_tensor(data.scale),
        near=near,
    )


def _map(Z: Array, k: Array, ratio: Array, centre: Array, sd: Array) -> Array:
    """Minimise sum k (eta + ratio exp(-eta)) / 2 + |theta - centre|^2 / (2 sd^2), eta = Z theta."""
    precision = 1.0 / sd**2

    def value(theta: Array) -> float:
        eta = Z @ theta
        fit = float((k * (eta + ratio * np.exp(-eta))).sum())
        return 0.5 * (fit + float((precision * (theta - centre) ** 2).sum()))

    theta = centre.copy()
    for _ in range(_NEWTON):
        scaled = ratio * np.exp(-(Z @ theta))
        slope = 0.5 * Z.T @ (k * (1.0 - scaled)) + precision * (theta - centre)
        curve = 0.5 * (Z.T * (k * scaled)) @ Z + np.diag(precision)
        step = np.linalg.solve(curve, slope)
        rate, now = 1.0, value(theta)
        while value(theta - rate * step) > now and rate > 1e-6:
            rate /= 2
        theta = theta - rate * step
        if np.abs(step).max() < 1e-8:
            break
    return theta
