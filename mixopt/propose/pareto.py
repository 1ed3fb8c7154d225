"""Schedules among which no objective can be bettered without worsening another."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixopt.errors import StudyError
from mixopt.propose.batch import candidates, spread_best
from mixopt.propose.candidates.refine import refine
from mixopt.propose.evidence import Evidence
from mixopt.propose.problem import Problem, Score, SurrogateLike, evaluate
from mixopt.propose.recommendation import Estimate
from mixopt.propose.torch_threads import one_thread
from mixopt.space import Frozen, Objective, Schedule, SearchSpace

Array = NDArray[np.float64]


class ParetoPoint(Frozen):
    """One schedule of the front.

    Attributes:
        schedule: It.
        objectives: Its predicted objectives, in the order asked.
    """

    schedule: Schedule
    objectives: tuple[Estimate, ...]


@one_thread
def pareto(
    space: SearchSpace,
    objectives: Sequence[Objective],
    surrogate: SurrogateLike,
    evidence: Evidence,
    *,
    seed: int,
    points: int = 9,
) -> tuple[ParetoPoint, ...]:
    """The predicted front of two or more objectives, all guardrails kept.

    Each point minimises an augmented Chebyshev sum of the predicted objectives (Steuer and Choo
    1983), which reaches fronts of any shape, and what another point dominates is left out.

    Args:
        space: What can be chosen.
        objectives: Two or more, to minimise.
        surrogate: Fitted to the evidence.
        evidence: Finished trials.
        seed: Of the draws.
        points: Wanted points per pair of objectives.

    Raises:
        StudyError: If there are fewer than two objectives.
    """
    if len(objectives) < 2:
        raise StudyError(
            f"a Pareto front needs two or more objectives; got {len(objectives)}",
            "use recommend for one objective",
        )
    problems = [Problem.of(space, o, surrogate, evidence) for o in objectives]
    rng = np.random.default_rng(seed)
    pool = np.vstack([rows for p in problems for rows in candidates(p, rng, 512)])
    broken = [p.broken(seed) for p in problems]
    scores = [p.cautious(0.0) for p in problems]
    values = np.array([evaluate(score, pool) for score in scores])
    low, high = values.min(1), values.max(1)
    found = []
    for share in _shares(len(problems), points):
        mixed = _chebyshev(scores, broken, share, low, np.maximum(high - low, 1e-9))
        start = pool[spread_best(problems[0], pool, evaluate(mixed, pool), 3)]
        X, at = refine(problems[0].geometry, start, mixed, steps=50)
        found.append(X[int(np.argmin(at))])
    rows = np.array(found)
    kept = sum(evaluate(b, rows) for b in broken) <= 1e-4
    return _front(problems, rows[kept])


def _shares(k: int, points: int) -> list[Array]:
    steps = itertools.product(range(points), repeat=k)
    return [np.array(s) / (points - 1) for s in steps if sum(s) == points - 1]


def _chebyshev(
    scores: list[Score], broken: list[Score], share: Array, low: Array, spread: Array
) -> Score:
    def score(X: Tensor) -> Tensor:
        scaled = torch.stack(
            [(s(X) - a) / b for s, a, b in zip(scores, low, spread, strict=True)], -1
        )
        worst: Tensor = (scaled * torch.as_tensor(share)).max(-1).values
        total = worst + 0.02 * scaled.sum(-1)
        for part in broken:
            total = total + 100.0 * part(X)
        return total

    return score


def _front(problems: list[Problem], rows: Array) -> tuple[ParetoPoint, ...]:
    if len(rows) == 0:
        return ()
    both = [p.expected(rows) for p in problems]
    means = np.array([mean for mean, _ in both]).T
    beaten = np.array(
        [((means <= m + 1e-9).all(1) & (means < m - 1e-6).any(1)).any() for m in means]
    )
    _, first = np.unique(np.round(means, 6), axis=0, return_index=True)
    keep = [i for i in first if not beaten[i]]
    return tuple(
        ParetoPoint(
            schedule=problems[0].decode(rows[i]),
            objectives=tuple(Estimate.of(mean[i], sd[i]) for mean, sd in both),
        )
        for i in sorted(keep, key=lambda i: float(means[i, 0]))
    )
