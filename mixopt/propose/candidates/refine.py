"""Projected gradient descent of many schedules at once, each in its own slice of the space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mixopt.propose.candidates.pool import Projector, with_trunk
from mixopt.propose.problem import Score
from mixopt.space import Geometry

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _Slice:
    """Rows that move in the same polytope, and the coordinates that may move."""

    rows: Ints
    project: Projector
    start: int


def refine(
    geometry: Geometry,
    X: Array,
    score: Score,
    *,
    steps: int = 60,
    rate: float = 0.08,
    keep_trunk: NDArray[np.bool_] | None = None,
) -> tuple[Array, Array]:
    """Move rows downhill inside the polytope of their fractions.

    The gradient of each row, scaled to length 1 and smoothed, is followed with a falling step;
    since its direction is kept, the projection stops where the conditions of an optimum hold. The
    best point met on the way is returned, with weights under 1e-4 set to 0 where limits allow.

    Searched learning rates follow their own gradient, scaled alike, within their ranges; where
    they have levels they stay, as fractions do.

    Args:
        geometry: Of the space whose rows are moved.
        X: ``n x D`` feasible starts.
        score: ``n x D -> n``, to be minimised; each value may depend on its own row only.
        steps: Moves.
        rate: First step's length in weights.
        keep_trunk: ``n`` rows in which only the last phase may move; none by default.

    Returns:
        Rows ``n x D`` and their scores ``n``; never worse than the starts.
    """
    if len(X) == 0:
        return X, np.empty(0)
    k = geometry.layout.phases * geometry.layout.domains
    slices = _slices(geometry, X, keep_trunk)
    x, rest = X[:, :k].copy(), X[:, k:].copy()
    free = _free_rates(geometry, X, keep_trunk)
    best, value = X.copy(), np.full(len(X), np.inf)
    momentum = np.zeros_like(X)
    for step in range(steps + 1):
        rows = np.hstack([x, rest])
        at, slope = _gradient(score, rows)
        better = at < value
        best[better], value[better] = rows[better], at[better]
        pace = rate * 0.5 * (1 + np.cos(np.pi * step / (steps + 1)))
        unit = np.hstack([_unit(slope[:, :k], slices), _scaled(slope[:, k:] * free)])
        momentum = 0.7 * momentum + 0.3 * unit
        x = _moved(x, pace * momentum[:, :k], slices)
        rest = np.where(free, np.clip(rest - pace * momentum[:, k:], 0.0, 1.0), rest)
    snapped = geometry.without_specks(best, keep_trunk)
    at = _gradient(score, snapped)[0]
    keep = at <= value + 1e-6 + 1e-4 * np.abs(value)
    return np.where(keep[:, None], snapped, best), np.where(keep, at, value)


def _slices(geometry: Geometry, X: Array, keep_trunk: NDArray[np.bool_] | None) -> list[_Slice]:
    _, F = geometry.layout.split(X)
    d = geometry.layout.domains
    cut = (geometry.layout.phases - 1) * d
    kept = np.zeros(len(X), dtype=bool) if keep_trunk is None else keep_trunk
    keys: dict[tuple[tuple[float, ...], tuple[float, ...] | None], list[int]] = {}
    for i in range(len(X)):
        fraction = tuple(float(f) for f in F[i])
        fixed = tuple(float(w) for w in X[i, :cut]) if kept[i] else None
        keys.setdefault((fraction, fixed), []).append(i)
    out = []
    for (fraction, trunk), rows in keys.items():
        polytope = geometry.polytope(fraction)
        start = 0
        if trunk is not None:
            part = with_trunk(polytope, np.array(trunk))
            if part is None:
                continue
            polytope, start = part, cut
        out.append(_Slice(np.array(rows), Projector(polytope), start))
    return out


def _free_rates(
    geometry: Geometry, X: Array, keep_trunk: NDArray[np.bool_] | None
) -> NDArray[np.bool_]:
    """Columns behind the weights that may move, ``n x (D - P d)``: rates without levels."""
    axes, layout = geometry.rate_axes, geometry.layout
    free = np.zeros((len(X), layout.dim - layout.phases * layout.domains), dtype=bool)
    if axes:
        there = layout.rates_there(layout.split(X)[1]) & np.array([not a.levels for a in axes])
        if keep_trunk is not None:
            late = np.array([a.phase == layout.phases - 1 for a in axes])
            there = there & (late | ~keep_trunk[:, None])
        free[:, -len(axes) :] = there
    return free


def _gradient(score: Score, rows: Array) -> tuple[Array, Array]:
    T = torch.tensor(rows, requires_grad=True)
    value = score(T)
    if value.requires_grad:
        value.sum().backward()  # type: ignore[no-untyped-call]
    slope = np.zeros_like(rows) if T.grad is None else T.grad.numpy()
    # Power laws have infinite slopes at 0; a large finite one points the same way.
    slope = np.nan_to_num(slope, nan=0.0, posinf=1e6, neginf=-1e6)
    return value.detach().numpy().copy(), slope


def _unit(slope: Array, slices: list[_Slice]) -> Array:
    out = np.zeros_like(slope)
    for part in slices:
        tangent = part.project.polytope.tangent
        out[part.rows, part.start :] = _scaled(slope[part.rows, part.start :] @ tangent @ tangent.T)
    return out


def _scaled(g: Array) -> Array:
    size = np.linalg.norm(g, axis=1, keepdims=True)
    return np.asarray(g / np.maximum(size, 1e-12))


def _moved(x: Array, by: Array, slices: list[_Slice]) -> Array:
    out = x.copy()
    for part in slices:
        at = x[part.rows, part.start :] - by[part.rows, part.start :]
        out[part.rows, part.start :] = part.project(at)
    return out


def own_path(paths: Score, owner: Ints) -> Score:
    """Row i scored by path ``owner[i]`` of ``n x D -> num x n``."""
    index = torch.as_tensor(owner)
    return lambda X: paths(X)[index, torch.arange(len(X))]
