"""Designs made for the mixing laws: the halving grid, D-optimal choices, the 40-to-20 subset.

Notation: r a mixture, t the law's coefficients in L = c + exp(r . t); z the design features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import StudyError
from mixopt.propose.candidates.distance import Ints
from mixopt.propose.candidates.pool import by_choice
from mixopt.space import Geometry
from mixopt.space.geometry.rate_coordinates import draw_rates

Array = NDArray[np.float64]

RIDGE = 1e-3


def halving(geometry: Geometry, n: int, rng: np.random.Generator) -> Array:
    """Rows ``n x D`` whose shares are halvings of the largest a domain may have.

    Each domain's share starts at the largest allowed and is halved again and again, down to a
    sixteenth, then 0; the last domain takes the remainder (Ye et al., arXiv 2403.16952, section 4).
    Which domain is last changes from draw to draw, and what breaks a limit is projected.
    """
    d, phases = geometry.layout.domains, geometry.layout.phases
    choices = np.array(geometry.fraction_choices)
    F = choices[np.arange(n) % len(choices)]
    x = np.empty((n, phases, d))
    for i in range(n):
        largest = _largest(geometry, tuple(float(f) for f in F[i])).reshape(phases, d)
        for p in range(phases):
            x[i, p] = _halved(largest[p], rng)
    return by_choice(geometry, F, x.reshape(n, -1), draw_rates(geometry.rate_axes, n, rng))


def _largest(geometry: Geometry, fractions: tuple[float, ...]) -> Array:
    polytope = geometry.polytope(fractions)
    eye = np.eye(polytope.dim)
    return np.array([polytope.vertex(-eye[j])[j] for j in range(polytope.dim)])


def _halved(largest: Array, rng: np.random.Generator) -> Array:
    order = rng.permutation(len(largest))
    weights, left = np.zeros(len(largest)), 1.0
    for j in order[:-1]:
        steps = largest[j] * np.array([1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 0])
        weights[j] = rng.choice(steps[steps <= left + 1e-12])
        left -= weights[j]
    weights[order[-1]] = left
    return weights


def _jacobians(z: Array, rng: np.random.Generator, draws: int = 16) -> Array:
    """``draws x n x f`` slopes of the law's log in its coefficients, for coefficients drawn."""
    t = 2.0 * rng.standard_normal((draws, z.shape[1]))
    loss = np.exp(np.clip(z @ t.T, -6, 6)).T
    return np.concatenate([np.ones((*loss.shape, 1)), loss[..., None] * z], axis=2)


def _phase_features(geometry: Geometry, X: Array) -> Array:
    W, F = geometry.layout.split(X)
    exposure = np.einsum("npd,np->nd", W, F)
    if geometry.layout.phases == 1:
        return np.asarray(exposure)
    return np.hstack([exposure, W[:, -1] * F[:, -1:]])


def doptimal(
    geometry: Geometry, pool: Array, n: int, rng: np.random.Generator, given: Array
) -> Array:
    """Greedy choice of n rows that raises the information on the law's coefficients most.

    The coefficients are unknown, so the log determinant is averaged over draws of them.
    """
    both = np.vstack([given, pool])
    J = _jacobians(_phase_features(geometry, both), rng)
    inverse = np.tile(np.eye(J.shape[2]) / RIDGE, (len(J), 1, 1))
    for row in range(len(given)):
        inverse = _with(inverse, J[:, row])
    picked: list[int] = []
    for _ in range(n):
        gain = np.log1p(np.einsum("snf,sfg,sng->sn", J, inverse, J)).mean(0)
        gain[: len(given)] = -1.0
        gain[picked] = -1.0
        picked.append(int(np.argmax(gain)))
        inverse = _with(inverse, J[:, picked[-1]])
    return both[picked]


def _with(inverse: Array, j: Array) -> Array:
    """Inverse information once one more row is seen (Sherman-Morrison), per draw."""
    v = np.einsum("sfg,sg->sf", inverse, j)
    down = 1 + np.einsum("sf,sf->s", j, v)
    return np.asarray(inverse - np.einsum("sf,sg->sfg", v, v) / down[:, None, None])


def choose_subset(X: Array, k: int = 20, *, Y: Array | None = None, seed: int = 0) -> Ints:
    """Which k of n cheap trials to repeat at larger sizes: those that predict all n best.

    The mixing-law authors train 40 mixtures at the cheapest size and repeat 20. With the cheap
    losses the subset is the one whose log-linear fit has the least squared error over all rows;
    without, the one with the least average prediction variance. Greedy, then exchanges.

    Args:
        X: ``n x d`` mixtures.
        k: Size of the subset.
        Y: ``n x m`` losses at the cheapest size, if known.
        seed: Of the order in which exchanges are tried.

    Returns:
        ``k`` sorted row numbers.

    Raises:
        StudyError: If k is not between 1 and n.
    """
    n = len(X)
    if not 1 <= k <= n:
        raise StudyError(
            f"a subset of {n} trials must have 1 to {n}; got {k}", "choose a smaller k"
        )
    rng = np.random.default_rng(seed)
    Z = np.hstack([np.ones((n, 1)), X - X.mean(0)])
    target = None if Y is None else np.log(Y - Y.min(0) + 0.1 * np.ptp(Y, axis=0) + 1e-12)
    chosen: list[int] = []
    while len(chosen) < k:
        rest = [i for i in range(n) if i not in chosen]
        chosen.append(min(rest, key=lambda i: _lack(Z, [*chosen, i], target)))
    for _ in range(2):
        for out in rng.permutation(k):
            chosen = _exchanged(Z, chosen, int(out), target)
    return np.array(sorted(chosen), dtype=np.int64)


def _exchanged(Z: Array, chosen: list[int], out: int, target: Array | None) -> list[int]:
    rest = [i for i in range(len(Z)) if i not in chosen]
    options = [chosen, *([*chosen[:out], i, *chosen[out + 1 :]] for i in rest)]
    return min(options, key=lambda option: _lack(Z, option, target))


def _lack(Z: Array, chosen: list[int], target: Array | None) -> float:
    """Prediction variance, or squared error, over all rows when only some are seen."""
    part = Z[chosen]
    inverse = np.linalg.inv(part.T @ part + RIDGE * np.eye(Z.shape[1]))
    variance = float(np.einsum("nf,fg,ng->", Z, inverse, Z))
    if target is None:
        return variance
    fitted = Z @ (inverse @ (part.T @ target[chosen]))
    return float(((target - fitted) ** 2 / target.var(0).clip(1e-12)).sum() + 1e-3 * variance)
