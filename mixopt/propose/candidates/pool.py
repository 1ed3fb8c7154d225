"""Feasible schedules to start from: faces, neighbours of good ones, endings off known trunks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import null_space

from mixopt.space import Geometry, Layout, Polytope, SearchSpace, geometry_of
from mixopt.space.geometry.rate_coordinates import draw_rates, snap_rates
from mixopt.space.geometry.tree import blocks

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


def sorted_geometry(geometry: Geometry) -> tuple[Geometry, Ints, Ints]:
    """The geometry of the same space with its domains in alphabetical order.

    All random draws are made in that order, so permuting the domains permutes the answer.

    Returns:
        The geometry, and the columns that take rows into it and back.
    """
    rank = np.argsort(geometry.space.names, kind="stable")
    there = _columns(rank, geometry.layout)
    domains = tuple(geometry.space.domains[i] for i in rank)
    ordered = geometry.space.model_copy(update={"domains": domains})
    return geometry_of(ordered), there, np.argsort(there)


def _columns(rank: Ints, layout: Layout) -> Ints:
    weights = [p * layout.domains + rank for p in range(layout.phases)]
    rest = np.arange(layout.phases * layout.domains, layout.dim)
    return np.concatenate([*weights, rest])


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
    geometry: Geometry, n: int, rng: np.random.Generator, centers: Array | None = None
) -> Array:
    """Feasible rows ``n x D``: Dirichlet draws per phase, projected into the polytope.

    Fractions are drawn evenly from the choices, searched learning rates from their ranges. Nothing
    is rejected, and faces are reached.
    """
    centers = anchors(geometry.space) if centers is None else centers
    choices = geometry.fraction_choices
    which = np.arange(n) % len(choices)
    out = np.empty((n, geometry.layout.dim))
    for index, fractions in enumerate(choices):
        rows = np.flatnonzero(which == index)
        if len(rows):
            parts = [dirichlet(centers, len(rows), rng) for _ in geometry.space.phases]
            x = Projector(geometry.polytope(fractions))(np.hstack(parts))
            out[rows] = geometry.rows(fractions, x, draw_rates(geometry.rate_axes, len(rows), rng))
    return geometry.without_specks(out)


def around(geometry: Geometry, X: Array, n: int, rng: np.random.Generator) -> Array:
    """Feasible perturbations ``n x D`` of rows ``k x D``, one mass-moving step each.

    Every other one also jumps to another choice of fractions. Searched learning rates move by
    steps of the same lengths.
    """
    chosen = X[rng.integers(len(X), size=n)]
    W, F = geometry.layout.split(chosen)
    d = W.shape[-1]
    step = np.exp(rng.uniform(np.log(0.02), np.log(0.5), (n, 1, 1)))
    toward = dirichlet(np.full((1, d), 1 / d), n * W.shape[1], rng).reshape(W.shape)
    x = ((1 - step) * W + step * toward).reshape(n, -1)
    choices = np.array(geometry.fraction_choices)
    jump = rng.random(n) < 0.5
    F = np.where(jump[:, None], choices[rng.integers(len(choices), size=n)], F)
    R = geometry.layout.rate_part(chosen)
    if geometry.rate_axes:
        R = R + step[:, :, 0] * rng.standard_normal(R.shape)
    return by_choice(geometry, F, x, snap_rates(geometry.rate_axes, R))


def by_choice(geometry: Geometry, F: Array, x: Array, R: Array | None = None) -> Array:
    """Project weights ``n x P*d`` into the polytope of their fractions ``n x P``: ``n x D``.

    Searched learning rates ``R`` (``n x r``) are the usual ones where they are not given.
    """
    out = np.empty((len(x), geometry.layout.dim))
    for fractions in np.unique(F, axis=0):
        rows = np.flatnonzero((fractions == F).all(1))
        key = tuple(float(f) for f in fractions)
        rates = None if R is None else R[rows]
        out[rows] = geometry.rows(key, Projector(geometry.polytope(key))(x[rows]), rates)
    return geometry.without_specks(out)


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
    part = Polytope.unlabelled(A[~idle], b[~idle], E[~still], e[~still])
    return part if part.clash()[0] < 1e-7 else None


def trunks(geometry: Geometry, X: Array) -> Array:
    """What endings of rows ``n x D`` branch off: their weights, and rates where searched.

    Returns:
        ``n x t``; rows that are equal in it can share a trunk.
    """
    layout = geometry.layout
    cut = (layout.phases - 1) * layout.domains
    early = [i for i, owner in enumerate(layout.rates) if owner < layout.phases - 1]
    return np.hstack([X[:, :cut], layout.rate_part(X)[:, early]])


def endings(
    geometry: Geometry,
    like: Array,
    n: int,
    rng: np.random.Generator,
    centers: Array | None = None,
    fractions: Sequence[tuple[float, ...]] | None = None,
) -> Array:
    """Feasible schedules ``<= n x D`` that share one trunk, over all choices of fractions.

    Args:
        geometry: Of a space of several phases.
        like: A row ``D``, whose phases but the last are kept.
        n: Wanted number of rows.
        rng: Source of randomness.
        centers: Mixtures to draw endings around.
        fractions: Choices to use; all with a last phase by default.
    """
    centers = anchors(geometry.space) if centers is None else centers
    wanted = [c for c in fractions or geometry.fraction_choices if c[-1] > 1e-9]
    trunk = like[: (geometry.layout.phases - 1) * geometry.layout.domains]
    late = np.array(geometry.layout.rates) == geometry.layout.phases - 1
    out = []
    for fraction in wanted:
        part = with_trunk(geometry.polytope(fraction), trunk)
        if part is None:
            continue
        x = Projector(part)(dirichlet(centers, -(-n // len(wanted)), rng))
        whole = np.hstack([np.tile(trunk, (len(x), 1)), x])
        rates = None
        if geometry.rate_axes:
            drawn = draw_rates(geometry.rate_axes, len(x), rng)
            rates = np.where(late, drawn, geometry.layout.rate_part(like))
        out.append(geometry.rows(fraction, whole, rates))
    rows = np.vstack(out) if out else np.empty((0, geometry.layout.dim))
    return geometry.without_specks(rows, np.ones(len(rows), dtype=bool))


class Projector:
    """Nearest points of a polytope; exact and fast where it is a simplex with bounds.

    So it is too where ties leave one free weight to each of several blocks of domains.

    Args:
        polytope: To project on.
    """

    def __init__(self, polytope: Polytope) -> None:
        self.polytope = polytope
        self.bounds = _box(polytope)
        self.shares = None if self.bounds is not None else _shares(polytope)
        self.caps = None if self.shares is None else _box(_between(polytope, self.shares))

    def __call__(self, y: Array) -> Array:
        """Project ``n x D``."""
        if self.bounds is not None:
            return _capped_simplex(y, *self.bounds)
        if self.shares is None or self.caps is None:
            return self.polytope.project(y)
        # In blocks' weights u the squared distance is sum_k |s_k|^2 (u_k - s_k.y / |s_k|^2)^2.
        size = (self.shares**2).sum(1)
        u = _capped_simplex(y @ self.shares.T / size, *self.caps, 1 / size)
        return np.asarray(u @ self.shares)


def _shares(polytope: Polytope) -> Array | None:
    """Shares ``k x D`` of each coordinate in its block's weight, where ties allow no other."""
    whole = (polytope.E == 1).all(1) & (polytope.e == 1)
    ties = polytope.E[~whole]
    if whole.sum() != 1 or len(ties) == 0 or polytope.e[~whole].any():
        return None
    names = [str(j) for j in range(polytope.dim)]
    out = []
    for block in blocks(names, list(ties)):
        inside = ties[:, block]
        free = null_space(inside[inside.any(1)]) if inside.any() else np.eye(len(block))
        if free.shape[1] != 1:
            return None
        share = free[:, 0] / free[:, 0].sum()
        if share.min() < -1e-12:
            return None
        row = np.zeros(polytope.dim)
        row[block] = np.maximum(share, 0.0)
        out.append(row)
    return np.array(out)


def _between(polytope: Polytope, shares: Array) -> Polytope:
    """What the inequalities say about the blocks' weights."""
    A = polytope.A @ shares.T
    kept = A.any(1)
    A, b = A[kept], polytope.b[kept]
    one = np.ones((1, len(shares)))
    return Polytope.unlabelled(A, b, one, np.ones(1))


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


def _capped_simplex(y: Array, low: Array, high: Array, give: Array | float = 1.0) -> Array:
    """Nearest points with ``low <= x <= high`` and sum 1, by bisection on the multiplier.

    Distances are weighted by 1 over ``give`` (``D``).
    """
    lower, upper = ((y - high) / give).min(1), ((y - low) / give).max(1)
    for _ in range(60):
        middle = (lower + upper) / 2
        # Two plain calls cost half of what np.clip does on few rows.
        over = np.minimum(np.maximum(y - middle[:, None] * give, low), high).sum(1) > 1
        lower, upper = np.where(over, middle, lower), np.where(over, upper, middle)
    x = np.clip(y - upper[:, None] * give, low, high)
    # What bisection leaves is spread over the coordinates that can still move.
    free = (x > low) & (x < high)
    left = 1 - x.sum(1, keepdims=True)
    return np.asarray(
        np.clip(x + left * free / np.maximum(free.sum(1, keepdims=True), 1), low, high)
    )
