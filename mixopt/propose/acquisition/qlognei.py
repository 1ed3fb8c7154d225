"""Batches by BoTorch's noisy log expected improvement, one schedule after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.objective import GenericMCObjective
from botorch.models.model import Model
from botorch.posteriors.gpytorch import GPyTorchPosterior
from botorch.sampling.normal import SobolQMCNormalSampler
from gpytorch.distributions import MultitaskMultivariateNormal
from numpy.typing import NDArray
from torch import Tensor

from mixopt.errors import StudyError
from mixopt.propose.acquisition.recipes import kept_first, take_fresh
from mixopt.propose.candidates.distance import Known
from mixopt.propose.candidates.pool import around, draws
from mixopt.propose.candidates.refine import refine
from mixopt.propose.problem import Problem, Score, evaluate

Array = NDArray[np.float64]

#: Rows evaluated at once: the joint posterior with all observed rows is kept for each.
CHUNK = 64


def qlognei(problem: Problem, q: int, rng: np.random.Generator, known: Known) -> list[Array]:
    """Maximise qLogNEI (Ament et al., arXiv 2310.20708) greedily, pending schedules held fixed.

    The best of a pool are refined by projected gradient, which limits of any kind allow.
    """
    model = getattr(problem.surrogate, "model", None)
    if model is None:
        raise StudyError(
            "the method qlognei needs a surrogate with a BoTorch model behind it; got "
            f"{type(problem.surrogate).__name__}",
            "use mixopt.surrogate.fit_surrogate, or the method thompson",
        )
    waiting = known.X[len(problem.X) :]
    rows: list[Array] = []
    for _ in range(q):
        taken = np.vstack([waiting, *(row[None] for row in rows)])
        score = _score(problem, model, taken, int(rng.integers(2**31)))
        rows += _best(problem, score, rng, known)
    return rows


def _best(problem: Problem, score: Score, rng: np.random.Generator, known: Known) -> list[Array]:
    geometry = problem.geometry
    mean, _ = problem.expected(problem.X)
    best = problem.X[np.argsort(mean)[:5]]
    pool = np.vstack([draws(geometry, 192, rng), around(geometry, best, 64, rng)])
    values = evaluate(score, pool, CHUNK)
    top = pool[np.argsort(values, kind="stable")]
    X, at = refine(geometry, top[:4], score, steps=30)
    rows = np.vstack([X[np.argsort(at)], top])
    return take_fresh(kept_first(problem, rows, rng, len(rows)), 1, known)


def _score(problem: Problem, model: Any, pending: Array, seed: int) -> Score:
    back = torch.as_tensor(problem.back)
    relative = [g for g in problem.objective.guardrails if g.bound is None]
    if relative:
        rises = [problem.evidence.metrics.index(g.metric) for g in relative]
        model = _WithRises(model, torch.as_tensor(problem.baseline)[back], rises)
    acquisition = qLogNoisyExpectedImprovement(
        model=model,
        X_baseline=torch.as_tensor(problem.X)[:, back],
        sampler=SobolQMCNormalSampler(torch.Size([64]), seed=seed),
        objective=GenericMCObjective(_negative(problem)),
        constraints=_constraints(problem) or None,
        X_pending=torch.as_tensor(pending)[:, back] if len(pending) else None,
        cache_root=False,
        prune_baseline=False,
    )
    return lambda X: -acquisition(X[:, None, back])


def _negative(problem: Problem) -> Any:
    w = torch.as_tensor(problem.weights)

    def value(samples: Tensor, X: Tensor | None = None) -> Tensor:
        del X
        total: Tensor = -(samples[..., : len(w)] @ w)
        return total

    return value


def _constraints(problem: Problem) -> list[Any]:
    """Negative where a draw keeps a guardrail; rises over the baseline stand after the metrics."""
    out = []
    rises = len(problem.evidence.metrics)
    for rail in problem.objective.guardrails:
        if rail.bound is None:
            i, limit, rises = rises, rail.slack, rises + 1
        else:
            i, limit = problem.evidence.metrics.index(rail.metric), rail.bound
        out.append(lambda samples, i=i, limit=limit: samples[..., i] - limit)
    return out


class _WithRises(Model):
    """A model with further outputs: how far metrics lie over the baseline's, drawn jointly.

    What is uncertain about a schedule and the baseline alike cancels, draw by draw.

    Args:
        model: Of m metrics.
        baseline: Its row ``D``.
        rises: The ``k`` metrics that are compared.
    """

    def __init__(self, model: Any, baseline: Tensor, rises: list[int]) -> None:
        super().__init__()
        self.model, self.baseline, self.rises = model, baseline, rises

    @property
    def num_outputs(self) -> int:
        """``m + k``."""
        return int(self.model.num_outputs) + len(self.rises)

    @property
    def batch_shape(self) -> torch.Size:
        """No batch of models."""
        return torch.Size()

    def posterior(
        self,
        X: Tensor,
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: Any = None,
    ) -> GPyTorchPosterior:
        """Joint posterior of the losses at ``batch_shape x q x D``, metrics first."""
        del output_indices, observation_noise
        both = torch.cat([X, self.baseline.expand(*X.shape[:-2], 1, X.shape[-1])], dim=-2)
        found = self.model.posterior(both)
        T = self._differences(X.shape[-2])
        mean = found.mean.flatten(-2) @ T.T
        cov = T @ found.distribution.covariance_matrix @ T.T
        cov = cov + 1e-10 * torch.eye(cov.shape[-1], dtype=cov.dtype)
        mean = mean.unflatten(-1, (X.shape[-2], self.num_outputs))
        posterior = GPyTorchPosterior(MultitaskMultivariateNormal(mean, cov))
        return posterior if posterior_transform is None else posterior_transform(posterior)

    def _differences(self, q: int) -> Tensor:
        """``q (m + k) x (q + 1) m``: points outside, metrics inside, the baseline last."""
        m = int(self.model.num_outputs)
        pick = torch.eye(m, dtype=torch.float64)
        own = torch.kron(torch.eye(q, dtype=torch.float64), torch.cat([pick, pick[self.rises]]))
        base = torch.cat([torch.zeros_like(pick), -pick[self.rises]]).repeat(q, 1)
        return torch.cat([own, base], dim=1)
