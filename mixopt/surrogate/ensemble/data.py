"""The rows of one fit, in canonical order, and what is derived from them once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mixopt.laws._arrays import Array
from mixopt.laws._lbfgs import Ints
from mixopt.laws.fitter import NOISE_SHARE
from mixopt.surrogate.ensemble.gp import features
from mixopt.surrogate.ensemble.row_checks import row_groups


@dataclass(frozen=True)
class Trunks:
    """Trunk effects of one fit, all in nats/token.

    Args:
        rows: ``n x G`` centred memberships T.
        sd: ``m`` standard deviations of one trunk's effect, widened as Student's t would.
        effect: ``n x m`` estimated effects, about their mean; 0 for rows alone on their trunk.
        alone: ``n`` flags of those rows.
        level: ``m x m`` covariance of the mean effect.
    """

    rows: Array
    sd: Array
    effect: Array
    alone: Array
    level: Array

    def only(self, which: list[int]) -> Trunks:
        """The effects on some of the metrics."""
        level = self.level[np.ix_(which, which)]
        return Trunks(self.rows, self.sd[which], self.effect[:, which], self.alone, level)


@dataclass(frozen=True)
class Data:
    """Rows of one fit.

    Args:
        W: ``n x P x d`` weights, domains in canonical order.
        F: ``n x P`` fractions.
        R: ``n x r`` coordinates of searched learning rates.
        Y: ``n x m`` losses (nats/token).
        metrics: m names.
        domains: d names, in canonical order.
        seed: Of folds and starts.
        trunks: Effects of the trunks, already taken off ``Y``; None where no trunk is shared.
        uncertain: ``n x m`` variances of losses that are predictions themselves (squared
            nats/token), beside the noise; None where all were measured.
    """

    W: Array
    F: Array
    R: Array
    Y: Array
    metrics: tuple[str, ...]
    domains: tuple[str, ...]
    seed: int
    trunks: Trunks | None = None
    uncertain: Array | None = None

    @property
    def rows(self) -> tuple[Array, Array, Array]:
        """Weights, fractions and rates."""
        return self.W, self.F, self.R

    @cached_property
    def U(self) -> Array:
        """``n x f`` kernel features."""
        return np.asarray(features(self.W, self.F, self.R))

    @cached_property
    def groups(self) -> Ints:
        """Number of the schedule of each row; replicates share one."""
        return row_groups(self.W, self.F, self.R)

    @cached_property
    def distinct(self) -> int:
        """Number of different schedules."""
        return len(np.unique(self.groups))

    @cached_property
    def offset(self) -> Array:
        """``m`` mean losses."""
        return np.asarray(self.Y.mean(0))

    @cached_property
    def constant(self) -> Array:
        """``m`` flags of metrics that never change."""
        limit = 1e-9 * np.maximum(1.0, np.abs(self.offset))
        return np.asarray(self.Y.std(0) <= limit)

    @cached_property
    def scale(self) -> Array:
        """``m`` units of the losses: their sd.

        A constant metric has none: a percent of its level, and a tenth when only one schedule was
        seen and nothing is known of how it varies.
        """
        share = 0.01 if self.distinct > 1 else 0.1
        assumed = share * np.maximum(1.0, np.abs(self.offset))
        return np.where(self.constant, assumed, self.Y.std(0))

    @cached_property
    def Z(self) -> Array:
        """``n x m`` standardised losses."""
        return np.asarray((self.Y - self.offset) / self.scale)

    @cached_property
    def shared(self) -> Array | None:
        """``m x n x G`` factor of the covariance of the trunk effects, standardised, if any."""
        if self.trunks is None:
            return None
        return (self.trunks.sd / self.scale)[:, None, None] * self.trunks.rows

    @cached_property
    def extra(self) -> Array:
        """``n x m`` variances, standardised, of the effects of trunks with a single row."""
        if self.trunks is None:
            return np.zeros_like(self.Y)
        return self.trunks.alone[:, None] * (self.trunks.sd / self.scale) ** 2

    @cached_property
    def beside(self) -> Array:
        """``n x m`` variances of the losses beside the noise; 0 where they were measured."""
        return np.zeros_like(self.Y) if self.uncertain is None else self.uncertain

    @cached_property
    def trust(self) -> Array:
        """``n`` weights of the rows in fits of laws: below 1 for losses that are predictions."""
        unit = (NOISE_SHARE * self.scale) ** 2
        return np.asarray((unit / (unit + self.beside)).mean(1))

    @cached_property
    def own(self) -> tuple[int, ...]:
        """For each metric the number of its own domain, or -1."""
        at = {name: j for j, name in enumerate(self.domains)}
        return tuple(at.get(metric, -1) for metric in self.metrics)
