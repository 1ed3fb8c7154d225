"""Rows that a search starts from: drawn anew, around the best observed, and off known trunks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixopt.propose.candidates.distance import schedule_distance
from mixopt.propose.candidates.pool import around, draws, endings, trunks
from mixopt.propose.problem import Problem

Array = NDArray[np.float64]


def starting_rows(problem: Problem, rng: np.random.Generator, n: int = 1024) -> tuple[Array, Array]:
    """Feasible rows to start from, and those of them that share a trunk with the best observed."""
    geometry = problem.geometry
    mean, _ = problem.expected(problem.X)
    best = problem.X[np.argsort(mean)[:5]]
    inside = _feasible(problem, np.vstack([problem.X, problem.baseline[None]]))
    free = [draws(geometry, n, rng), around(geometry, best, n // 2, rng), inside]
    shared = [np.empty((0, geometry.layout.dim))]
    if geometry.layout.phases > 1:
        d = geometry.layout.domains
        cut = (geometry.layout.phases - 1) * d
        centers = np.vstack([best[:, cut : cut + d], np.full((1, d), 1 / d)])
        known = np.vstack([best[:2], problem.baseline[None]])
        for first in np.unique(trunks(geometry, known), axis=0, return_index=True)[1]:
            shared.append(endings(geometry, known[first], n // 8, rng, centers))
    return np.vstack(free), np.vstack(shared)


def _feasible(problem: Problem, X: Array) -> Array:
    """The rows that the space allows: attached trials may lie outside."""
    _, F = problem.layout.split(X)
    k = len(problem.space.phases) * len(problem.space.names)
    choices = set(problem.geometry.fraction_choices)
    good = []
    for row, f in zip(X, F, strict=True):
        key = tuple(round(float(v), 10) for v in f)
        inside = (np.abs(problem.layout.rate_part(row) - 0.5) <= 0.5 + 1e-9).all()
        if (
            inside
            and key in choices
            and problem.geometry.polytope(key).violation(row[None, :k])[0] < 1e-6
        ):
            good.append(row)
    return np.array(good).reshape(-1, X.shape[1])


def spread_best(problem: Problem, X: Array, values: Array, n: int, apart: float = 0.05) -> Array:
    """Row numbers of the n best rows that are some way apart from one another."""
    order = np.argsort(values, kind="stable")[: 40 * n]
    picked = [int(order[0])]
    for i in order[1:]:
        if len(picked) == n:
            break
        if schedule_distance(problem.layout, X[[i]], X[picked]).min() > apart:
            picked.append(int(i))
    return np.array(picked)
