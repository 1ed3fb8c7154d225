"""Which of a table's rows are trained on: at random, or by one of the designs a study can use."""

from __future__ import annotations

import numpy as np

from mixopt.bench.tables import Array, BenchError, Ints
from mixopt.errors import StudyError


def design_rows(kind: str, X: Array, n: int, seed: int, first: int | None = None) -> Ints:
    """Choose n of the rows, looking at their weights only.

    Args:
        kind: ``random``, ``maxmin`` (each row the farthest from the others in the square root of
            the weights, from a random first row) or any other initial design of
            :mod:`mixopt.propose`, each of its mixtures replaced by the nearest row left.
        X: ``N x d`` rows to choose from.
        n: How many.
        seed: Of every draw.
        first: The row a max-min design begins with; None for a random one.

    Raises:
        BenchError: If there are not n rows or no such design.
    """
    if not 1 <= n <= len(X):
        raise BenchError(
            f"training rows must be from 1 to the {len(X)} the table has for it; got {n}",
            "ask for fewer",
        )
    rng = np.random.default_rng(seed)
    if kind == "random":
        return np.asarray(rng.permutation(len(X))[:n])
    if kind == "maxmin":
        start = int(rng.integers(len(X)))
        return _maxmin(np.sqrt(X), n, start if first is None else first, rng)
    return _nearest(np.sqrt(X), np.sqrt(_designed(kind, X.shape[1], n, seed)))


def _maxmin(Z: Array, n: int, first: int, rng: np.random.Generator) -> Ints:
    picked, gap = [first], np.full(len(Z), np.inf)
    while len(picked) < n:
        gap = np.minimum(gap, ((Z - Z[picked[-1]]) ** 2).sum(1))
        gap[picked] = -1.0
        best = np.flatnonzero(gap == gap.max())
        picked.append(int(rng.choice(best)))
    return np.array(picked)


def _designed(kind: str, d: int, n: int, seed: int) -> Array:
    from mixopt.propose.design.initial_design import initial_design
    from mixopt.space import Domain, Mixture, SearchSpace, geometry_of

    names = [f"d{j}" for j in range(d)]
    space = SearchSpace(
        name="replay",
        domains=tuple(Domain(name=name) for name in names),
        baseline=Mixture.from_array(tuple(names), np.full(d, 1.0 / d)),
    )
    try:
        schedules = initial_design(space, n, seed=seed, kind=kind)
    except StudyError as error:
        raise BenchError(
            f"no design of {n} rows by {kind!r}: {error.message}", "random and maxmin always work"
        ) from error
    return np.array([geometry_of(space).encode(schedule) for schedule in schedules])


def _nearest(Z: Array, wanted: Array) -> Ints:
    left, picked = np.ones(len(Z), dtype=bool), []
    for z in wanted:
        distance = np.where(left, ((Z - z) ** 2).sum(1), np.inf)
        picked.append(int(np.argmin(distance)))
        left[picked[-1]] = False
    return np.array(picked)
