"""Schedules for the first round, before anything is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import StudyError
from mixopt.propose.candidates.distance import NEAR, Known, design_features, farthest
from mixopt.propose.candidates.pool import draws, endings, sorted_geometry
from mixopt.space import Geometry, Schedule, SearchSpace, geometry_of
from mixopt.steps import step

Array = NDArray[np.float64]

#: Endings tried off one trunk in an initial design.
GROUP = 3


@step("choosing the first trials")
def initial_design(
    space: SearchSpace,
    n: int,
    *,
    seed: int,
    include: Sequence[Schedule] = (),
) -> list[Schedule]:
    """The schedules of the first round.

    Each is the farthest from the others in the square root of the weights, out of a pool that
    reaches the faces (max-min); with several phases a third are static schedules, and the others
    endings that share trunks.

    Args:
        space: What can be chosen.
        n: Number of schedules, those in ``include`` among them.
        seed: Of the draws; the same seed gives the same design.
        include: Schedules to begin with, the baseline say.

    Returns:
        ``n`` different feasible schedules, ``include`` first.

    Raises:
        StudyError: If ``include`` has more than n, or the space is so small
            that it has no n different schedules.
        InfeasibleError: If the space is empty.
    """
    if not 0 <= len(include) <= n or n < 1:
        raise StudyError(
            f"an initial design of {n} trials cannot begin with {len(include)} given schedules",
            "ask for more trials, or include fewer",
        )
    geometry = geometry_of(space)
    ordered, _, back = sorted_geometry(geometry)
    rng = np.random.default_rng(seed)
    given = np.array([ordered.encode(s) for s in include]).reshape(-1, ordered.layout.dim)
    known = Known(ordered.layout, given)
    rows = _distinct(_maxmin(ordered, n - len(given), rng, given), known)
    rows += _filled(ordered, n - len(given) - len(rows), rng, known)
    return [*include, *(geometry.decode(row[back]) for row in rows)]


def _distinct(rows: Array, known: Known) -> list[Array]:
    kept = []
    for row in rows:
        if known.fresh(row):
            kept.append(row)
            known.add(row)
    return kept


def _filled(geometry: Geometry, n: int, rng: np.random.Generator, known: Known) -> list[Array]:
    """Replace what was too near to others: the farthest of many draws, one after the other."""
    if n <= 0:
        return []
    pool = np.vstack([draws(geometry, 512, rng), geometry.sample(64, rng)])
    gap = known.gap(pool)
    kept: list[Array] = []
    for _ in range(n):
        best = int(np.argmax(gap))
        if gap[best] < 1e-3 * NEAR:
            raise StudyError(
                f"the space {geometry.space.name!r} is so narrow that {n - len(kept)} more "
                "schedules would repeat others",
                "ask for fewer trials, or loosen the bounds",
            )
        kept.append(pool[best])
        known.add(pool[best])
        gap = np.minimum(gap, Known(geometry.layout, pool[best][None]).gap(pool))
    return kept


def _pool(geometry: Geometry, n: int, rng: np.random.Generator) -> Array:
    """Candidates for a space-filling choice, the faces included."""
    return draws(geometry, min(max(1024, 32 * n), 2048), rng)


def _maxmin(geometry: Geometry, n: int, rng: np.random.Generator, given: Array) -> Array:
    if geometry.layout.phases > 1:
        return _maxmin_phases(geometry, n, rng, given)
    pool = _pool(geometry, n, rng)
    features = design_features(geometry.layout, pool)
    return pool[farthest(features, design_features(geometry.layout, given), n)]


def _maxmin_phases(geometry: Geometry, n: int, rng: np.random.Generator, given: Array) -> Array:
    """A third static, a third endings off the baseline's trunk, a third off the other trunks."""
    chosen = given
    static = [c for c in geometry.fraction_choices if c[-1] <= 1e-9]
    share = max(n // 3, 1) if static else 0
    pool = _pool(geometry, n, rng)
    _, F = geometry.layout.split(pool)
    flat = pool[F[:, -1] <= 1e-9]
    chosen = np.vstack([chosen, _pick(geometry, flat, chosen, share)])
    trunks = [geometry.encode(geometry.space.baseline_schedule)]
    trunks += [*(chosen[len(given) :] if share else pool)]
    off_baseline = max((n - share) // 2, min(GROUP, n - share))
    for index, trunk in enumerate(trunks):
        left = n + len(given) - len(chosen)
        if left <= 0:
            break
        candidates = endings(geometry, trunk, 256, rng)
        size = off_baseline if index == 0 else GROUP
        chosen = np.vstack([chosen, _balanced(geometry, candidates, chosen, min(size, left))])
    return chosen[len(given) :]


def _pick(geometry: Geometry, pool: Array, chosen: Array, n: int) -> Array:
    if n == 0 or len(pool) == 0:
        return pool[:0]
    layout = geometry.layout
    return pool[farthest(design_features(layout, pool), design_features(layout, chosen), n)]


def _balanced(geometry: Geometry, pool: Array, chosen: Array, n: int) -> Array:
    """Farthest picks that go round the fractions, those least used so far first."""
    picked = pool[:0]
    for _ in range(n if len(pool) else 0):
        both = np.vstack([chosen, picked])
        _, used = geometry.layout.split(both)
        _, have = geometry.layout.split(pool)
        levels = np.unique(have[:, -1])
        count = [(np.abs(used[:, -1] - level) < 1e-9).sum() for level in levels]
        part = pool[np.abs(have[:, -1] - levels[int(np.argmin(count))]) < 1e-9]
        picked = np.vstack([picked, _pick(geometry, part, both, 1)])
    return picked
