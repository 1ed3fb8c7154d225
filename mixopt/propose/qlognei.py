"""Batches by BoTorch's noisy log expected improvement, one schedule after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.objective import GenericMCObjective
from botorch.sampling.normal import SobolQMCNormalSampler
from numpy.typing import NDArray
from torch import Tensor

from mixopt.errors import StudyError
from mixopt.propose.distance import Known
from mixopt.propose.pool import around, draws
from mixopt.propose.problem import Problem, Score, evaluate
from mixopt.propose.recipes import take_fresh
from mixopt.propose.refine import refine

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
    space = problem.space
    mean, _ = problem.expected(problem.X)
    best = problem.X[np.argsort(mean)[:5]]
    pool = np.vstack([draws(space, 192, rng), around(space, best, 64, rng)])
    values = evaluate(score, pool, CHUNK)
    top = pool[np.argsort(values, kind="stable")]
    X, at = refine(space, top[:4], score, steps=30)
    return take_fresh(np.vstack([X[np.argsort(at)], top]), 1, known)


def _score(problem: Problem, model: Any, pending: Array, seed: int) -> Score:
    back = torch.as_tensor(problem.back)
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
        total: Tensor = -(samples @ w)
        return total

    return value


def _constraints(problem: Problem) -> list[Any]:
    base, _ = problem.moments(problem.baseline[None])
    out = []
    for rail in problem.objective.guardrails:
        i = problem.evidence.metrics.index(rail.metric)
        limit = float(base[0, i]) + rail.slack if rail.bound is None else rail.bound
        out.append(lambda samples, i=i, limit=limit: samples[..., i] - limit)
    return out
