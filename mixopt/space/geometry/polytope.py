"""The polytope of allowed weights: interior points, uniform draws, projection, diagnosis.

Notation: ``x`` a point with ``D`` coordinates; ``A x <= b`` the ``r`` inequalities; ``E x = e`` the
``s`` equalities. Each constraint has a label that a user understands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import null_space
from scipy.optimize import linprog

from mixopt.errors import InfeasibleError
from mixopt.space.geometry.splitting import Splitting

Array = NDArray[np.float64]

TIGHT = 1e-9


class ConstraintKind(StrEnum):
    """Where a constraint comes from."""

    sign = "sign"
    """A weight is at least 0: true of every mixture, so never a cause that a user can mend."""
    limit = "limit"
    """Everything else: bounds, caps, ties, sums."""


class Constraint(NamedTuple):
    """One row: ``a.x <= b`` as an inequality, ``a.x = b`` as an equality.

    Attributes:
        a: Coefficients ``D``.
        b: The right-hand side.
        label: The constraint in words.
        kind: Where it comes from.
    """

    a: Array
    b: float
    label: str
    kind: ConstraintKind = ConstraintKind.limit


@dataclass(frozen=True)
class Polytope:
    """All ``x`` with ``A x <= b`` and ``E x = e``.

    Args:
        A: ``r x D``.
        b: ``r``.
        E: ``s x D``.
        e: ``s``.
        labels: The ``r`` inequalities, then the ``s`` equalities, in words.
        kinds: Where each of these comes from.
    """

    A: Array
    b: Array
    E: Array
    e: Array
    labels: tuple[str, ...]
    kinds: tuple[ConstraintKind, ...]

    @classmethod
    def of(cls, rows: Sequence[Constraint], equal: Sequence[Constraint], dim: int) -> Polytope:
        """Build a polytope in ``dim`` coordinates from inequalities and equalities."""
        return cls(
            A=np.array([row.a for row in rows]).reshape(-1, dim),
            b=np.array([row.b for row in rows]),
            E=np.array([row.a for row in equal]).reshape(-1, dim),
            e=np.array([row.b for row in equal]),
            labels=tuple(row.label for row in [*rows, *equal]),
            kinds=tuple(row.kind for row in [*rows, *equal]),
        )

    @classmethod
    def unlabelled(cls, A: Array, b: Array, E: Array, e: Array) -> Polytope:
        """A polytope that only computation sees, such as a part of another one."""
        count = len(b) + len(e)
        return cls(A, b, E, e, ("",) * count, (ConstraintKind.limit,) * count)

    @property
    def dim(self) -> int:
        """Number of coordinates ``D``."""
        return int(self.A.shape[1])

    def violation(self, x: Array) -> Array:
        """How far points ``batch_shape x D`` lie outside, ``batch_shape``; 0 inside."""
        over = (x @ self.A.T - self.b).max(-1, initial=0.0)
        off = np.abs(x @ self.E.T - self.e).max(-1, initial=0.0)
        return np.asarray(np.maximum(np.maximum(over, off), 0.0))

    def broken(self, x: Array, tolerance: float = 1e-6) -> list[tuple[str, float]]:
        """Label and amount of each constraint that one point ``D`` breaks."""
        amounts = np.concatenate([self.A @ x - self.b, np.abs(self.E @ x - self.e)])
        return [
            (label, float(a))
            for label, a in zip(self.labels, amounts, strict=True)
            if a > tolerance
        ]

    def clash(self) -> tuple[float, tuple[str, ...]]:
        """The least total slack that makes the polytope non-empty, and the constraints at fault.

        One LP: minimise the sum of the slacks added to every constraint. Where it is positive, the
        constraints with a non-zero dual are an infeasible set (Farkas).
        """
        r, s, D = len(self.b), len(self.e), self.dim
        cost = np.concatenate([np.zeros(D), np.ones(r + 2 * s)])
        A = np.hstack([self.A, -np.eye(r), np.zeros((r, 2 * s))])
        E = np.hstack([self.E, np.zeros((s, r)), np.eye(s), -np.eye(s)])
        bounds = [(None, None)] * D + [(0, None)] * (r + 2 * s)
        found = linprog(cost, A, self.b, E, self.e, bounds)
        if found.status != 0:
            raise InfeasibleError(f"the caps could not be checked: {found.message}")
        dual = np.concatenate([found.ineqlin.marginals, found.eqlin.marginals])
        named = [
            label
            for label, kind, d in zip(self.labels, self.kinds, dual, strict=True)
            if abs(d) > 1e-7 and kind is not ConstraintKind.sign
        ]
        return float(found.fun or 0.0), tuple(dict.fromkeys(named))

    def require_feasible(self, where: str) -> None:
        """Raise ``InfeasibleError`` naming the caps that clash and by how much."""
        amount, labels = self.clash()
        if amount > 1e-7:
            raise InfeasibleError(
                f"no mixture meets all limits of {where}: {'; '.join(labels)} clash by "
                f"{amount:.4g} of weight",
                "loosen one of them by that much",
            )

    @cached_property
    def center(self) -> Array:
        """A point ``D`` well inside: the centre of the largest ball in the relative interior."""
        return self._ball[0]

    def _solved(self, what: str, *program: Any) -> Array:
        """Solution of a linear program over the polytope, which may turn out to be empty."""
        found = linprog(*program)
        if found.status != 0:
            self.require_feasible("the search space")
            raise InfeasibleError(f"{what}: {found.message}")
        return np.asarray(found.x)

    @cached_property
    def _flat(self) -> tuple[Array, Array]:
        """Every equality, those that are written as inequalities included."""
        tight = self.implicit
        return np.vstack([self.E, self.A[tight]]), np.concatenate([self.e, self.b[tight]])

    @cached_property
    def _ball(self) -> tuple[Array, float]:
        # Rows that can never be slack are equalities in disguise and must not shrink the ball.
        free, (flat, level) = ~self.implicit, self._flat
        radius = np.linalg.norm(self.A[free] @ self.tangent, axis=1)
        cost = np.append(np.zeros(self.dim), -1.0)
        rows = np.column_stack([self.A[free], radius])
        equal = np.column_stack([flat, np.zeros(len(flat))])
        bounds = [(None, None)] * self.dim + [(0, 1)]
        what = "no interior point was found"
        point = self._solved(what, cost, rows, self.b[free], equal, level, bounds)
        return point[:-1], float(point[-1])

    @cached_property
    def implicit(self) -> NDArray[np.bool_]:
        """Which of the ``r`` inequalities hold with equality everywhere in the polytope."""
        r, D = self.A.shape
        cost = np.concatenate([np.zeros(D), -np.ones(r)])
        A = np.hstack([self.A, np.eye(r)])
        E = np.hstack([self.E, np.zeros((len(self.e), r))])
        bounds = [(None, None)] * D + [(0, 1e-3)] * r
        what = "the caps could not be checked"
        tight = self._solved(what, cost, A, self.b, E, self.e, bounds)[D:] < TIGHT
        for row in np.flatnonzero(tight):
            slack = self.b[row] - self.A[row] @ self.vertex(self.A[row])
            tight[row] = slack < 10 * TIGHT
        return tight

    def vertex(self, cost: Array) -> Array:
        """The vertex ``D`` that minimises ``cost . x``."""
        program = cost, self.A, self.b, self.E, self.e, (None, None)
        return self._solved("no vertex was found", *program)

    @cached_property
    def tangent(self) -> Array:
        """Orthonormal directions ``D x k`` along which one can move inside the polytope."""
        return np.asarray(null_space(self._flat[0])) if len(self._flat[0]) else np.eye(self.dim)

    def sample(self, n: int, rng: np.random.Generator, steps: int | None = None) -> Array:
        """Uniform draws by hit-and-run (Smith 1984), one chain each, from the centre.

        Args:
            n: Number of points.
            rng: Source of randomness.
            steps: Moves per chain; by default ``40 + 4 k`` for ``k`` free directions.

        Returns:
            Points ``n x D``, each inside.
        """
        x = np.tile(self.center, (n, 1))
        k = self.tangent.shape[1]
        if k == 0:
            return x
        rows = ~self.implicit
        A, b = self.A[rows], self.b[rows]
        for _ in range(steps or 40 + 4 * k):
            direction = rng.standard_normal((n, k)) @ self.tangent.T
            low, high = _chord(A @ direction.T, b[:, None] - A @ x.T)
            x += (low + (high - low) * rng.random(n))[:, None] * direction
        return self.pull_inside(x)

    def sample_vertices(self, n: int, rng: np.random.Generator) -> Array:
        """Vertices ``n x D`` that random costs pick; where uniform draws never come."""
        return np.array([self.vertex(rng.standard_normal(self.dim)) for _ in range(n)])

    def pull_inside(self, x: Array) -> Array:
        """Move points ``n x D`` toward the centre just far enough to be inside.

        Equalities are restored first by projection on the flat. For points a rounding error
        outside; use ``project`` for others.
        """
        x = self.center + (x - self.center) @ self.tangent @ self.tangent.T
        rows = ~self.implicit
        room = self.b[rows] - self.A[rows] @ self.center
        want = (x - self.center) @ self.A[rows].T
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(want > room, room / want, 1.0)
        return np.asarray(self.center + scale.min(-1, initial=1.0)[:, None] * (x - self.center))

    def chord(self, x: Array, direction: Array) -> tuple[float, float]:
        """How far a point ``D`` can go back (0 or less) and forth along a direction ``D``."""
        rows = ~self.implicit
        speed = (self.A[rows] @ direction)[:, None]
        low, high = _chord(speed, (self.b[rows] - self.A[rows] @ x)[:, None])
        return float(low[0]), float(high[0])

    def project(self, y: Array, iterations: int = 300) -> Array:
        """The nearest point of the polytope to each of ``n x D``.

        By operator splitting, then ``pull_inside`` for the last rounding error.
        """
        return self.pull_inside(self._splitting.nearest(y, iterations))

    @cached_property
    def _splitting(self) -> Splitting:
        return Splitting(
            np.vstack([self.E, self.A]),
            np.concatenate([self.e, np.full(len(self.b), -np.inf)]),
            np.concatenate([self.e, self.b]),
        )


def _chord(speed: Array, room: Array) -> tuple[Array, Array]:
    """How far one can go backward and forward: ``t * speed <= room`` for every row."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.maximum(room, 0.0) / speed
    high = np.where(speed > 1e-14, t, np.inf).min(0)
    low = np.where(speed < -1e-14, t, -np.inf).max(0)
    # A chain stuck in a corner by rounding stays where it is instead of going to infinity.
    dead = ~(np.isfinite(high) & np.isfinite(low))
    return np.where(dead, 0.0, low), np.where(dead, 0.0, high)
