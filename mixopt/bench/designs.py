"""Which of a table's rows are trained on: at random, or by a published initial design."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mixopt.bench.tables import Array, BenchError, Ints, require_one_of

#: Prior precision of the coefficients in a D-optimal design.
_RIDGE = 1e-3


def design_rows(kind: str, X: Array, n: int, seed: int, first: int | None = None) -> Ints:
    """Choose n of the rows, looking at their weights only.

    Args:
        kind: ``random``, ``maxmin`` (each row the farthest from the others in the square root of
            the weights, from a random first row, as a study's initial design), or the rows nearest
            to the mixtures of a design: ``uniform`` on the simplex, ``dirichlet`` (draws of several
            strengths around the uniform mixture), ``halving`` (the grid of Ye et al., arXiv
            2403.16952, section 4) or ``doptimal`` (for the exponential mixing law).
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
    require_one_of(kind, ("random", "maxmin", *_MIXTURES), "a design")
    return _nearest(np.sqrt(X), np.sqrt(_MIXTURES[kind](n, X.shape[1], rng)))


def _maxmin(Z: Array, n: int, first: int, rng: np.random.Generator) -> Ints:
    picked, gap = [first], np.full(len(Z), np.inf)
    while len(picked) < n:
        gap = np.minimum(gap, ((Z - Z[picked[-1]]) ** 2).sum(1))
        gap[picked] = -1.0
        best = np.flatnonzero(gap == gap.max())
        picked.append(int(rng.choice(best)))
    return np.array(picked)


def _nearest(Z: Array, wanted: Array) -> Ints:
    left, picked = np.ones(len(Z), dtype=bool), []
    for z in wanted:
        distance = np.where(left, ((Z - z) ** 2).sum(1), np.inf)
        picked.append(int(np.argmin(distance)))
        left[picked[-1]] = False
    return np.array(picked)


def _uniform(n: int, d: int, rng: np.random.Generator) -> Array:
    return rng.dirichlet(np.ones(d), n)


def _dirichlet(n: int, d: int, rng: np.random.Generator) -> Array:
    from mixopt.propose.candidates.pool import dirichlet

    return dirichlet(np.full((1, d), 1.0 / d), n, rng)


def _halving(n: int, d: int, rng: np.random.Generator) -> Array:
    """Shares of 1, halved up to four times, or 0; the last domain, a random one, takes the rest."""
    steps = np.array([1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 0])
    X = np.zeros((n, d))
    for row in X:
        order, left = rng.permutation(d), 1.0
        for j in order[:-1]:
            row[j] = rng.choice(steps[steps <= left + 1e-12])
            left -= row[j]
        row[order[-1]] = left
    return X


def _doptimal(n: int, d: int, rng: np.random.Generator) -> Array:
    """Greedy choice of mixtures that raise the information on the law's coefficients most.

    The law is L = c + exp(r . t). Its coefficients are unknown, so the log determinant is averaged
    over draws of them.
    """
    pool = _dirichlet(max(1024, 32 * n), d, rng)
    J = _jacobians(pool, rng)
    inverse = np.tile(np.eye(J.shape[2]) / _RIDGE, (len(J), 1, 1))
    picked: list[int] = []
    for _ in range(n):
        gain = np.log1p(np.einsum("snf,sfg,sng->sn", J, inverse, J)).mean(0)
        gain[picked] = -1.0
        picked.append(int(np.argmax(gain)))
        inverse = _updated(inverse, J[:, picked[-1]])
    return pool[picked]


def _jacobians(X: Array, rng: np.random.Generator, draws: int = 16) -> Array:
    """``draws x n x (d + 1)`` slopes of the law in its coefficients, for coefficients drawn."""
    t = 2.0 * rng.standard_normal((draws, X.shape[1]))
    loss = np.exp(np.clip(X @ t.T, -6, 6)).T
    return np.concatenate([np.ones((*loss.shape, 1)), loss[..., None] * X], axis=2)


def _updated(inverse: Array, j: Array) -> Array:
    """Inverse information once one more row is seen (Sherman-Morrison), per draw."""
    v = np.einsum("sfg,sg->sf", inverse, j)
    down = 1 + np.einsum("sf,sf->s", j, v)
    return np.asarray(inverse - np.einsum("sf,sg->sfg", v, v) / down[:, None, None])


_MIXTURES: dict[str, Callable[[int, int, np.random.Generator], Array]] = {
    "uniform": _uniform,
    "dirichlet": _dirichlet,
    "halving": _halving,
    "doptimal": _doptimal,
}
