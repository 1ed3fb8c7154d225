"""Losses whose truth is known, for whole studies; and those that are fitted to public tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from mixopt.bench import BenchTable, load_table
from mixopt.bench.methods import gp_model
from mixopt.laws import LAWS, fit_law
from mixopt.propose.candidates.pool import draws
from mixopt.propose.candidates.refine import refine
from mixopt.space import (
    Fidelity,
    Geometry,
    Mixture,
    Objective,
    PhaseSpace,
    Schedule,
    SearchSpace,
    geometry_of,
)

Array = NDArray[np.float64]

#: Tokens of the second phase of a fitted landscape, as a share of all.
ENDING = 0.2
#: Rows of a table that are learned from, at most: the process's cost grows with their cube.
MOST_ROWS = 128
#: Share of the last mixture in what a metric keeps, of which each metric has one or the other.
RECENCY = (0.1, 0.5)


class Landscape(ABC):
    """True losses of the schedules of a space.

    Args:
        space: What can be chosen.
        weights: Of the objective, one per metric, in order.
    """

    def __init__(self, space: SearchSpace, weights: dict[str, float]) -> None:
        self.space, self.geometry = space, geometry_of(space)
        self.metrics = tuple(weights)
        self.weights = np.array(list(weights.values()))
        used = {name: weight for name, weight in weights.items() if weight > 0}
        self.objective = Objective(weights=used)

    @abstractmethod
    def __call__(self, X: torch.Tensor) -> torch.Tensor:
        """Losses ``n x m`` of rows ``n x D``."""

    def value(self, schedule: Schedule) -> float:
        """The true objective of a schedule."""
        return float(self.objective_at(self.geometry.encode(schedule)[None])[0])

    def objective_at(self, X: Array) -> Array:
        """The true objective ``n`` of rows ``n x D``."""
        with torch.no_grad():
            return np.asarray(self(torch.as_tensor(X)).numpy() @ self.weights)

    def least(self) -> float:
        """The least objective in the space, by projected gradient from many starts."""
        w = torch.as_tensor(self.weights)
        X = draws(self.geometry, 4096, np.random.default_rng(0))
        start = X[np.argsort(self.objective_at(X))[:24]]
        return float(refine(self.geometry, start, lambda rows: self(rows) @ w, steps=150)[1].min())


def effective(X: torch.Tensor, geometry: Geometry, recency: torch.Tensor) -> torch.Tensor:
    """Mixtures ``r x n x d`` that count late tokens more: the exposure, and the last mixture.

    Args:
        X: Rows ``n x D``.
        geometry: Of their space.
        recency: ``r`` shares of the last mixture.
    """
    W, F = geometry.layout.split(X)
    exposure = (W * F[..., None]).sum(-2)
    last = torch.where(F[..., -1:] > 1e-9, W[..., -1, :], W[..., 0, :])
    share = recency[:, None, None]
    return (1 - share) * exposure + share * last


class TableFit:
    """The losses of a table as smooth functions of the mixture, and how runs scatter about them.

    Two fits: ``gp``, BoTorch's Gaussian process on plain weights alone, and ``law``, the
    effective-data law with that process on what it leaves. The scatter has the rows of the
    residuals, at the standard deviation of noise that the process estimates per metric.

    Args:
        table: Of the rows of its densest size and step, evenly chosen ones are learned from.
        kind: ``gp`` or ``law``.
    """

    def __init__(self, table: BenchTable, kind: str) -> None:
        pool = table.densest()
        pool = pool.take(np.arange(0, len(pool), -(-len(pool) // MOST_ROWS)))
        weighted = bool(pool.weights)
        weights = pool.overall_weights if weighted else np.full(len(pool.metrics), 1.0)
        self.used = np.flatnonzero(weights > 0)
        self.domains, self.weights = pool.domains, weights[self.used] / weights[self.used].sum()
        self.metrics = tuple(pool.metrics[i] for i in self.used)
        X, Y = pool.X, pool.Y[:, self.used]
        own = [self.domains.index(k) if k in self.domains else -1 for k in self.metrics]
        whole = X[:, None], np.ones((len(X), 1))
        self.law = fit_law(LAWS["effective data"], *whole, Y, own)[0] if kind == "law" else None
        process = gp_model(X, Y - self._law(torch.as_tensor(X)).numpy())
        self.process = process.requires_grad_(False).eval()
        self.known = process.train_inputs[0]
        noise = process.likelihood.noise
        K = process.covar_module(self.known).to_dense() + torch.diag_embed(noise.expand(-1, len(X)))
        left = process.train_targets - process.mean_module(self.known)
        self.pull = torch.linalg.solve(K, left[..., None])
        residuals = Y - self(torch.as_tensor(X)).numpy()
        sd = (noise.sqrt() * process.outcome_transform.stdvs[0, :, None])[:, 0]
        self.scatter = residuals / residuals.std(0) * sd.numpy()

    def _law(self, Z: torch.Tensor) -> torch.Tensor:
        if self.law is None:
            return torch.zeros(len(Z), len(self.used), dtype=Z.dtype)
        return self.law.predict(Z[:, None], torch.ones(len(Z), 1, dtype=Z.dtype))

    def __call__(self, Z: torch.Tensor) -> torch.Tensor:
        """Losses ``n x m`` of mixtures ``n x d``."""
        process, Zn = self.process, self.process.input_transform(Z)
        near = process.covar_module(Zn, self.known).to_dense()
        found = process.mean_module(Zn.expand(len(self.used), -1, -1)) + (near @ self.pull)[..., 0]
        return self._law(Z) + process.outcome_transform.untransform(found.T)[0]


@cache
def table_fit(name: str, kind: str) -> TableFit:
    """The fit of a public table, made once."""
    return TableFit(load_table(name), kind)


class FittedLandscape(Landscape):
    """A fitted table in one or two phases, the second a fixed share of the tokens.

    No table has two phases. Some metrics keep much of the last mixture and others little, drawn by
    the seed, so the best schedule has two mixtures.

    Args:
        fit: Of a table.
        scatter: ``k x m`` deviations of runs, which are drawn from.
        phases: One or two.
        seed: Of what is drawn.
    """

    def __init__(self, fit: TableFit, scatter: Array, phases: int, seed: int) -> None:
        chosen = [PhaseSpace(name="base")]
        if phases == 2:
            chosen.append(PhaseSpace(name="ending", fraction=ENDING))
        uniform = Mixture.uniform(fit.domains)
        target = Fidelity(parameters=1000, tokens=100_000)
        space = SearchSpace(domains=fit.domains, phases=chosen, baseline=uniform, target=target)
        super().__init__(space, dict(zip(fit.metrics, fit.weights.tolist(), strict=True)))
        self.fit, self.scatter, self.seed = fit, scatter, seed
        late = np.random.default_rng(seed).random(len(self.metrics)) < 0.5
        self.late = torch.as_tensor(late)

    def __call__(self, X: torch.Tensor) -> torch.Tensor:
        """Losses ``n x m`` of rows ``n x D``."""
        Z = effective(X, self.geometry, torch.tensor(RECENCY, dtype=X.dtype))
        if len(self.space.phases) == 1:
            return self.fit(Z[0])
        early, late = self.fit(Z.reshape(-1, Z.shape[-1])).reshape(2, len(X), -1)
        return torch.where(self.late, late, early)

    def observed(self, X: Array, first: int) -> Array:
        """Losses ``n x m`` of a run of each row, whose noise follows from its number alone.

        Args:
            X: Rows ``n x D``.
            first: Number of the first run in its study.
        """
        with torch.no_grad():
            true = self(torch.as_tensor(X)).numpy()
        k, runs = len(self.scatter), range(first, first + len(X))
        rows = [int(np.random.default_rng([self.seed, run]).integers(k)) for run in runs]
        return np.asarray(true + self.scatter[rows])
