"""Feasible schedules to start from: faces, neighbours of good ones, endings off known trunks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mixopt.space import Polytope, SearchSpace

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


def sorted_space(space: SearchSpace) -> tuple[SearchSpace, Ints, Ints]:
    """The same space with its domains in alphabetical order.

    All random draws are made in that order, so permuting the domains permutes the answer.

    Returns:
        The space, and the columns that take rows into it and back.
    """
    names = list(space.names)
    rank = np.array(sorted(range(len(names)), key=names.__getitem__))
    there = _columns(rank, space)
    same = bool((rank == np.arange(len(rank))).all())
    return (space if same else _rebuilt(space.model_dump_json())), there, np.argsort(there)


def _columns(rank: Ints, space: SearchSpace) -> Ints:
    d, phases = len(rank), len(space.phases)
    weights = np.concatenate([p * d + rank for p in range(phases)])
    rest = np.arange(phases * d, space.layout.dim)
    return np.concatenate([weights, rest])


@lru_cache(maxsize=8)
def _rebuilt(text: str) -> SearchSpace:
    # Rebuilding forgets the polytopes' cached centres; one copy per space keeps them warm.
    space = SearchSpace.model_validate_json(text)
    values = {name: getattr(space, name) for name in SearchSpace.model_fields}
    values["domains"] = tuple(sorted(space.domains, key=lambda domain: domain.name))
    return SearchSpace(**values)


def anchors(space: SearchSpace) -> Array:
    """Mixtures ``k x d`` that draws are made around: uniform, natural where known, baseline."""
    found = [space.uniform, space.baseline_schedule.base, space.baseline_schedule.ending]
    if all(domain.tokens is not None for domain in space.domains):
        found.append(space.natural)
    return np.unique(np.array([mixture.to_array(space.names) for mixture in found]), axis=0)


def dirichlet(centers: Array, n: int, rng: np.random.Generator) -> Array:
    """Draws ``n x d`` around random centers; small strengths give nearly one-domain mixtures."""
    d = centers.shape[1]
    center = 0.98 * centers[rng.integers(len(centers), size=n)] + 0.02 / d
    strength = np.exp(rng.uniform(np.log(1.0), np.log(4.0 * d), (n, 1)))
    raw = rng.standard_gamma(np.maximum(center * strength, 1e-3)) + 1e-300
    return np.asarray(raw / raw.sum(1, keepdims=True))


def draws(
    space: SearchSpace, n: int, rng: np.random.Generator, centers: Array | None = None
) -> Array:
    """Feasible rows ``n x D``: Dirichlet draws per phase, projected into the polytope.

    Fractions are drawn evenly from the choices. Nothing is rejected, and faces are reached.
    """
    centers = anchors(space) if centers is None else centers
    choices = space.fraction_choices
    which = np.arange(n) % len(choices)
    out = np.empty((n, space.layout.dim))
    for index, fractions in enumerate(choices):
        rows = np.flatnonzero(which == index)
        if len(rows):
            parts = [dirichlet(centers, len(rows), rng) for _ in space.phases]
            x = Projector(space.polytope(fractions))(np.hstack(parts))
            out[rows] = space.rows(fractions, x)
    return out


def around(space: SearchSpace, X: Array, n: int, rng: np.random.Generator) -> Array:
    """Feasible perturbations ``n x D`` of rows ``k x D``, one mass-moving step each.

    Every other one also jumps to another choice of fractions.
    """
    chosen = X[rng.integers(len(X), size=n)]
    W, F = space.layout.split(chosen)
    d = W.shape[-1]
    step = np.exp(rng.uniform(np.log(0.02), np.log(0.5), (n, 1, 1)))
    toward = dirichlet(np.full((1, d), 1 / d), n * W.shape[1], rng).reshape(W.shape)
    x = ((1 - step) * W + step * toward).reshape(n, -1)
    choices = np.array(space.fraction_choices)
    jump = rng.random(n) < 0.5
    F = np.where(jump[:, None], choices[rng.integers(len(choices), size=n)], F)
    return by_choice(space, F, x)


def by_choice(space: SearchSpace, F: Array, x: Array) -> Array:
    """Project weights ``n x P*d`` into the polytope of their fractions ``n x P``: ``n x D``."""
    out = np.empty((len(x), space.layout.dim))
    for fractions in np.unique(F, axis=0):
        rows = np.flatnonzero((fractions == F).all(1))
        key = tuple(float(f) for f in fractions)
        out[rows] = space.rows(key, Projector(space.polytope(key))(x[rows]))
    return out


def with_trunk(polytope: Polytope, trunk: Array) -> Polytope | None:
    """The polytope of the last phase's weights once the earlier phases' are given.

    Args:
        polytope: Over all phases' weights.
        trunk: Weights of all phases but the last, flat.

    Returns:
        The slice, or None where no ending fits this trunk.
    """
    k = len(trunk)
    A, b = polytope.A[:, k:], polytope.b - polytope.A[:, :k] @ trunk
    E, e = polytope.E[:, k:], polytope.e - polytope.E[:, :k] @ trunk
    idle, still = ~A.any(1), ~E.any(1)
    if (b[idle] < -1e-7).any() or (np.abs(e[still]) > 1e-7).any():
        return None
    part = Polytope(A[~idle], b[~idle], E[~still], e[~still], ("",) * int((~idle).sum()))
    labels = ("",) * (len(part.b) + len(part.e))
    part = Polytope(part.A, part.b, part.E, part.e, labels)
    return part if part.clash()[0] < 1e-7 else None


def endings(
    space: SearchSpace,
    trunk: Array,
    n: int,
    rng: np.random.Generator,
    centers: Array | None = None,
    fractions: Sequence[tuple[float, ...]] | None = None,
) -> Array:
    """Feasible schedules ``<= n x D`` that share one trunk, over all choices of fractions.

    Args:
        space: With several phases.
        trunk: Weights of all phases but the last, flat.
        n: Wanted number of rows.
        rng: Source of randomness.
        centers: Mixtures to draw endings around.
        fractions: Choices to use; all with a last phase by default.
    """
    centers = anchors(space) if centers is None else centers
    wanted = [c for c in fractions or space.fraction_choices if c[-1] > 1e-9]
    out = []
    for fraction in wanted:
        part = with_trunk(space.polytope(fraction), trunk)
        if part is None:
            continue
        x = Projector(part)(dirichlet(centers, -(-n // len(wanted)), rng))
        whole = np.hstack([np.tile(trunk, (len(x), 1)), x])
        out.append(space.rows(fraction, whole))
    return np.vstack(out) if out else np.empty((0, space.layout.dim))


class Projector:
    """Nearest points of a polytope; exact and fast where it is a simplex with bounds.

    Args:
        polytope: To project on.
    """

    def __init__(self, polytope: Polytope) -> None:
        self.polytope = polytope
        self.bounds = _box(polytope)

    def __call__(self, y: Array) -> Array:
        """Project ``n x D``."""
        if self.bounds is None:
            return self.polytope.project(y)
        low, high = self.bounds
        return _capped_simplex(y, low, high)


def _box(polytope: Polytope) -> tuple[Array, Array] | None:
    """Bounds ``D`` each, if all the polytope says is ``low <= x <= high`` and one sum of 1."""
    if len(polytope.E) != 1 or (polytope.E != 1).any() or polytope.e[0] != 1:
        return None
    if (np.count_nonzero(polytope.A, axis=1) != 1).any():
        return None
    low, high = np.full(polytope.dim, -np.inf), np.full(polytope.dim, np.inf)
    for a, b in zip(polytope.A, polytope.b, strict=True):
        j = int(np.flatnonzero(a)[0])
        if a[j] > 0:
            high[j] = min(high[j], b / a[j])
        else:
            low[j] = max(low[j], b / a[j])
    return (low, np.minimum(high, 1.0)) if np.isfinite(low).all() else None


def _capped_simplex(y: Array, low: Array, high: Array) -> Array:
    """Nearest points with ``low <= x <= high`` and sum 1, by bisection on the multiplier."""
    lower, upper = (y - high).min(1), (y - low).max(1)
    for _ in range(60):
        middle = (lower + upper) / 2
        over = np.clip(y - middle[:, None], low, high).sum(1) > 1
        lower, upper = np.where(over, middle, lower), np.where(over, upper, middle)
    x = np.clip(y - upper[:, None], low, high)
    # What bisection leaves is spread over the coordinates that can still move.
    free = (x > low) & (x < high)
    left = 1 - x.sum(1, keepdims=True)
    return np.asarray(
        np.clip(x + left * free / np.maximum(free.sum(1, keepdims=True), 1), low, high)
    )
