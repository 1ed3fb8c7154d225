"""How strongly a recommendation should be drawn to the baseline, by cross-validation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixopt.propose.problem import Problem

Array = NDArray[np.float64]

#: Strengths tried, in nats/token of the objective per nat of divergence.
STRENGTHS = (0.0, 0.005, 0.02, 0.1)

#: Trials below which out-of-fold choices say too little, and no prior is used.
LEAST = 20
FOLDS = 5
MENUS = 400
MENU = 6


def exposure(problem: Problem, X: Tensor) -> Tensor:
    """Share of all tokens per domain, ``n x d``."""
    W, F = problem.layout.split(X)
    total: Tensor = (W * F[..., None]).sum(-2)
    return total


def divergence(problem: Problem, X: Tensor) -> Tensor:
    """KL divergence of each row's exposure from the baseline's, ``n`` nats."""
    base = exposure(problem, torch.as_tensor(problem.baseline[None])).clamp_min(1e-4)
    safe = exposure(problem, X).clamp_min(1e-12)
    return (safe * (safe.log() - base.log())).sum(-1)


def cross_validated_strength(problem: Problem, seed: int) -> float:
    """The strength whose choices among unseen trials turned out best.

    Trials are predicted out of fold; from many random menus of them each strength takes the one
    with the least prediction plus penalty, and the mean of what was really observed there counts.
    A strength above 0 must win by more than a jackknife standard error, and 0 is used below 20
    trials, or where the surrogate was not cross-validated.
    """
    n, unseen = len(problem.evidence), problem.surrogate.out_of_fold
    if n < LEAST or unseen is None:
        return 0.0
    rng = np.random.default_rng(seed)
    fold = rng.permutation(np.arange(n) % FOLDS)
    predicted = unseen.mean @ problem.weights
    far = divergence(problem, torch.as_tensor(problem.X)).numpy()
    menus = np.array([rng.permutation(n)[:MENU] for _ in range(MENUS)])
    picks = [menus[np.arange(MENUS), (predicted + s * far)[menus].argmin(1)] for s in STRENGTHS]
    gains = [problem.y[picks[0]] - problem.y[pick] for pick in picks]
    best = int(np.argmax([gain.mean() for gain in gains]))
    kept = [~(fold[menus] == k).any(1) for k in range(FOLDS)]
    parts = np.array([gains[best][keep].mean() for keep in kept if keep.any()])
    error = np.sqrt((len(parts) - 1) * parts.var()) if len(parts) > 1 else np.inf
    return STRENGTHS[best] if gains[best].mean() > error else 0.0
