"""One question to a surrogate: a space, an objective and what was seen, in canonical order.

Notation: rows are those of the space with its domains sorted by name; m metrics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor

from mixopt.errors import StudyError
from mixopt.propose.candidates.pool import Ints, sorted_geometry
from mixopt.propose.evidence import Evidence
from mixopt.space import Geometry, Guardrail, Layout, Objective, Schedule, SearchSpace, geometry_of
from mixopt.surrogate.protocol import SurrogateModel

Array = NDArray[np.float64]
Score = Callable[[Tensor], Tensor]

#: Posterior draws behind the moments of a guardrail.
GUARDRAIL_DRAWS = 256

#: Price of breaking a guardrail, in objective per unit of the metric.
PENALTY = 100.0


#: Rows that are predicted together with the baseline.
TOGETHER = 16

#: A chance constraint counts as kept when broken by less than this (nats/token).
KEPT = 1e-4


@dataclass(frozen=True)
class Problem:
    """A space, an objective, a surrogate and the evidence it was fitted to.

    Args:
        geometry: Of the space with its domains sorted by name.
        there: Columns that take the caller's rows into ``geometry``.
        back: Columns that take rows of ``geometry`` back to the caller's.
        original: The geometry of the caller's space.
        objective: To improve; what is minimised is it, or minus it where it is to be maximised.
        surrogate: Speaks the caller's rows.
        evidence: In the caller's rows.
    """

    geometry: Geometry
    there: Ints
    back: Ints
    original: Geometry
    objective: Objective
    surrogate: SurrogateModel
    evidence: Evidence

    @classmethod
    def of(
        cls,
        space: SearchSpace,
        objective: Objective,
        surrogate: SurrogateModel,
        evidence: Evidence,
    ) -> Problem:
        """Put a question into canonical order.

        Raises:
            StudyError: If the evidence does not fit the space, or lacks a metric.
        """
        original = geometry_of(space)
        if evidence.X.shape[1] != original.layout.dim:
            raise StudyError(
                f"the evidence must have the space's {original.layout.dim} columns; "
                f"got {evidence.X.shape[1]}",
                "encode schedules with geometry_of(space).encode",
            )
        evidence.coefficients(objective)
        if len(evidence) == 0:
            raise StudyError("a surrogate needs finished trials; there is none", "run some first")
        ordered, there, back = sorted_geometry(original)
        return cls(ordered, there, back, original, objective, surrogate, evidence)

    @property
    def space(self) -> SearchSpace:
        """The space with its domains sorted by name."""
        return self.geometry.space

    @property
    def layout(self) -> Layout:
        """The columns of its rows."""
        return self.geometry.layout

    def narrowed(self) -> Problem:
        """The same question to the metrics of the objective alone.

        Searching asks the surrogate thousands of times; the other metrics would cost as much each.
        """
        wanted = [name for name in self.evidence.metrics if name in self.objective.metrics]
        if len(wanted) == len(self.evidence.metrics):
            return self
        return replace(
            self, surrogate=self.surrogate.only(wanted), evidence=self.evidence.only(wanted)
        )

    @cached_property
    def X(self) -> Array:
        """Observed rows ``n x D``."""
        return self.evidence.X[:, self.there]

    @cached_property
    def y(self) -> Array:
        """What is minimised, as observed: ``n``."""
        return self.evidence.values(self.objective)

    @cached_property
    def best(self) -> int:
        """Number of the trial with the best measured objective; a predicted end is no measurement.

        Raises:
            StudyError: If no end was measured.
        """
        measured = self.evidence.measured
        if not measured.any():
            raise StudyError(
                f"all {len(measured)} trials ended before their last token",
                "run some to their end",
            )
        return int(np.argmin(np.where(measured, self.y, np.inf)))

    @property
    def sign(self) -> float:
        """Factor from what is minimised to the objective in its own direction."""
        return self.objective.sign

    @cached_property
    def weights(self) -> Array:
        """Factors ``m`` of the metrics in what is minimised."""
        return self.evidence.coefficients(self.objective)

    @cached_property
    def baseline(self) -> Array:
        """The baseline's row ``D``."""
        return self.encode(self.space.baseline_schedule)

    @property
    def noise(self) -> float:
        """Standard deviation of one observation of the objective (nats/token)."""
        return float(self.combined(self.surrogate.noise_sd[None])[0])

    @property
    def correlation(self) -> Array:
        """``m x m`` correlation of the metrics' errors."""
        return self.surrogate.correlation

    def combined(self, sd: Array) -> Array:
        """Standard deviation ``n`` of the objective from those of the metrics ``n x m``."""
        share = sd * self.weights
        variance = ((share @ self.correlation) * share).sum(1)
        return np.asarray(np.sqrt(np.maximum(variance, 0.0)))

    def ranking(self) -> float | None:
        """Cross-validated rank correlation of the objective's metrics; None where unknown."""
        found = {row.metric: row.spearman for row in self.surrogate.report()}
        known = [found.get(name) for name in self.evidence.metrics]
        share = [self.objective.weights.get(name, 0.0) for name in self.evidence.metrics]
        if any(k is None for k, w in zip(known, share, strict=True) if w > 0):
            return None
        return float(sum(w * (k or 0.0) for k, w in zip(known, share, strict=True)))

    def encode(self, schedule: Schedule) -> Array:
        """A schedule as a row ``D``."""
        return self.geometry.encode(schedule)

    def decode(self, row: Array) -> Schedule:
        """A row ``D`` as a schedule that names the domains in the caller's order."""
        return self.original.decode(row[self.back])

    def moments(self, X: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of every metric at ``n x D``: ``n x m`` each."""
        got = self.surrogate.predict(X[:, self.back])
        return got.mean, got.sd

    def expected(self, X: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the objective at ``n x D``: ``n`` each."""
        mean, sd = self._apart(X)
        return mean, np.sqrt(sd**2 + self.weights @ self.level @ self.weights)

    def together(self, X: Array) -> tuple[Array, Array]:
        """Means ``n x m`` and covariance ``n x m x n x m`` of all metrics at ``n x D``, exactly."""
        with torch.no_grad():
            found = self.surrogate.posterior(torch.as_tensor(X[None, :, self.back])).distribution
        shape = len(X), len(self.evidence.metrics)
        cov = found.covariance_matrix[0].numpy().reshape(*shape, *shape)
        return found.mean[0].numpy().reshape(shape), cov

    def minus_baseline(self, X: Array) -> tuple[Array, Array]:
        """Mean and standard deviation ``n`` of the objective at ``n x D`` less the baseline's.

        Under the joint posterior: what moves both alike drops out.
        """
        w, base = self.weights, self.baseline[None]
        parts = [self.together(np.vstack([base, part])) for part in _pieces(X)]
        value = np.concatenate([(mean[1:] - mean[:1]) @ w for mean, _ in parts])
        spread = []
        for _, cov in parts:
            C = np.einsum("i,aibj,j->ab", w, cov, w)
            spread.append((np.diagonal(C) + C[0, 0] - 2 * C[0])[1:])
        sd = np.sqrt(np.maximum(np.concatenate(spread), 0.0))
        sd[np.abs(X - base).max(1) == 0] = 0.0
        return value, sd

    @property
    def level(self) -> Array:
        """``m x m`` covariance of what moves all predictions alike."""
        return self.surrogate.level

    def _apart(self, X: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the objective, what moves all schedules alike left out."""
        mean, sd = self.moments(X)
        own = np.sqrt(np.maximum(sd**2 - np.diagonal(self.level), 0.0))
        return mean @ self.weights, self.combined(own)

    def cautious(self, caution: float) -> Score:
        """The objective's mean plus so many standard deviations, differentiable ``n x D -> n``."""
        w = torch.as_tensor(self.weights)

        def score(X: Tensor) -> Tensor:
            if not X.requires_grad:
                mean_only, sd = self._apart(X.detach().numpy())
                return torch.as_tensor(mean_only + caution * sd)
            posterior = self.surrogate.posterior(X[:, None, self.back])
            mean: Tensor = posterior.mean[:, 0, :] @ w
            if caution == 0:
                return mean
            own = posterior.variance[:, 0, :] - torch.as_tensor(np.diagonal(self.level).copy())
            share = own.clamp_min(1e-16).sqrt() * w
            variance: Tensor = ((share @ torch.as_tensor(self.correlation)) * share).sum(-1)
            return mean + caution * variance.clamp_min(1e-16).sqrt()

        return score

    def paths(self, num: int, seed: int) -> Callable[[Tensor], Tensor]:
        """Posterior draws of all metrics, ``batch x D -> num x batch x m``."""
        path = self.surrogate.sample_paths(num, seed)
        return lambda X: path(X[:, self.back])

    def excess(self, values: Tensor, at_baseline: Tensor) -> Tensor:
        """How far drawn metrics lie beyond their guardrails, summed.

        Args:
            values: ``num x n x m`` draws.
            at_baseline: ``num x 1 x m``, the same draws at the baseline.

        Returns:
            ``num x n``, 0 where all hold.
        """
        total = torch.zeros(values.shape[:-1], dtype=values.dtype)
        for guardrail in self.objective.guardrails:
            total = total + self._over(guardrail, values, at_baseline).clamp_min(0.0)
        return total

    def _over(self, guardrail: Guardrail, values: Tensor, at_baseline: Tensor) -> Tensor:
        i = self.evidence.metrics.index(guardrail.metric)
        worse = self.objective.kind_of(guardrail.metric).sign
        if guardrail.bound is not None:
            return worse * (values[..., i] - guardrail.bound)
        return worse * (values[..., i] - at_baseline[..., i]) - guardrail.slack

    def broken(self, seed: int) -> Score:
        """How far the guardrails' chance constraints are broken, ``n x D -> n``; 0 where they hold.

        A metric's rise over its limit is taken as Gaussian with the moments of posterior draws;
        comparing draw by draw with the baseline leaves out what is uncertain about both alike.
        """
        rails = self.objective.guardrails
        if not rails:
            return lambda X: torch.zeros(len(X), dtype=X.dtype)
        path = self.paths(GUARDRAIL_DRAWS, seed)
        with torch.no_grad():
            at_baseline = path(torch.as_tensor(self.baseline[None]))

        def score(X: Tensor) -> Tensor:
            values = path(X)
            total = torch.zeros(len(X), dtype=X.dtype)
            for rail in rails:
                over = self._over(rail, values, at_baseline)
                spread = (over.var(0) + 1e-16).sqrt()
                total = total + (over.mean(0) + _z(rail) * spread - 1e-6).clamp_min(0.0)
            return total

        return score

    def penalised(self, score: Score, seed: int) -> Score:
        """A score plus the price of broken chance constraints."""
        if not self.objective.guardrails:
            return score
        broken = self.broken(seed)
        return lambda X: score(X) + PENALTY * broken(X)

    def drawn(self, num: int, seed: int) -> Score:
        """Draws of the penalised objective, ``n x D -> num x n``."""
        path = self.paths(num, seed)
        w = torch.as_tensor(self.weights)
        with torch.no_grad():
            at_baseline = path(torch.as_tensor(self.baseline[None]))

        def score(X: Tensor) -> Tensor:
            values = path(X)
            if not self.objective.guardrails:
                return values @ w
            return values @ w + PENALTY * self.excess(values, at_baseline)

        return score


def _pieces(X: Array) -> list[Array]:
    """Rows a few at a time: the covariance of all metrics at n rows has (n m)² numbers."""
    return [X[i : i + TOGETHER] for i in range(0, len(X), TOGETHER)]


def _z(guardrail: Guardrail) -> float:
    return float(norm.ppf(guardrail.confidence))


def evaluate(score: Score, X: Array, chunk: int = 2048) -> Array:
    """A score at rows ``n x D`` without gradients, in pieces; the last dimension is n."""
    with torch.no_grad():
        parts = [score(torch.as_tensor(X[i : i + chunk])) for i in range(0, len(X), chunk)]
    return np.asarray(torch.cat(parts, dim=-1).numpy())
