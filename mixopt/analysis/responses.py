"""How the predicted objective responds to each weight around a recommendation.

A weight moves along the line on which the other weights of its phase shrink or grow alike, as far
as the polytope of allowed weights reaches. Differences are taken under the joint posterior of both
schedules, so that what is uncertain about both alike cancels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from mixopt.errors import StudyError
from mixopt.propose.problem import Problem
from mixopt.propose.recommendation import Estimate
from mixopt.propose.torch_threads import one_thread
from mixopt.space import Geometry, Schedule
from mixopt.space.geometry.polytope import Polytope
from mixopt.steps import step

Array = NDArray[np.float64]

#: A weight that can move by less than this is taken as fixed.
LEAST_MOVE = 1e-3
#: An effect is the slope over so much of the weight, half of it on either side.
NEAR = 0.04
#: Slices that are drawn, and the points on each.
SLICES, STEPS = 6, 25
#: Steps along a side of the ternary map.
SIDE = 24
INSIDE = 1e-7


@dataclass(frozen=True)
class DomainEffect:
    """What one percentage point more of a domain does at the recommendation.

    Attributes:
        phase: Whose weight it is.
        domain: Name.
        weight: At the recommendation, a share from 0 to 1.
        low: Least allowed weight on the line through the recommendation.
        high: Largest allowed one.
        objective: Change of the objective per percentage point (nats/token); negative is better.
        metrics: The same of each metric.
    """

    phase: str
    domain: str
    weight: float
    low: float
    high: float
    objective: Estimate
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class Slice:
    """The objective along one weight, the others of the phase scaled alike.

    Attributes:
        effect: The weight that moves.
        weights: Its values, from the least to the largest allowed.
        objective: Minus the baseline's at each (nats/token).
    """

    effect: DomainEffect
    weights: tuple[float, ...]
    objective: tuple[Estimate, ...]


@dataclass(frozen=True)
class Ternary:
    """The objective over three weights of a phase that share what the others leave.

    Attributes:
        phase: Whose weights they are.
        domains: The three names.
        total: Sum of the three weights.
        points: Allowed weights ``n x 3``.
        objective: Minus the baseline's at each (nats/token).
        recommended: The three weights of the recommendation.
    """

    phase: str
    domains: tuple[str, str, str]
    total: float
    points: tuple[tuple[float, float, float], ...]
    objective: tuple[Estimate, ...]
    recommended: tuple[float, float, float]


@dataclass(frozen=True)
class Responses:
    """What the surrogate learned of the weights.

    Attributes:
        effects: Of every weight that can move, in the order of phases and domains.
        slices: Of those that change the objective most.
        ternary: Of the three largest domains of the last phase; None where fewer can move.
    """

    effects: tuple[DomainEffect, ...]
    slices: tuple[Slice, ...]
    ternary: Ternary | None


@one_thread
@step("asking what each weight does")
def responses(
    problem: Problem, schedule: Schedule, domains: Sequence[str] | None = None
) -> Responses:
    """Look around a schedule.

    Args:
        problem: Space, objective and surrogate.
        schedule: Allowed by the space.
        domains: The three of the ternary map; None for the largest that can move.

    Raises:
        StudyError: If they are not three domains whose weights in the last phase can move.
    """
    at = _Place(problem, problem.original.encode(schedule))
    lines = [line for line in at.lines() if line.high - line.low > LEAST_MOVE]
    effects = _effects(at, lines)
    reach = [abs(e.objective.mean) * (e.high - e.low) for e in effects]
    leading = sorted(range(len(lines)), key=lambda i: -reach[i])[:SLICES]
    slices = tuple(_slice(at, lines[i], effects[i]) for i in leading)
    return Responses(effects, slices, _ternary(at, lines, domains))


@dataclass(frozen=True)
class _Line:
    """Where a weight can move: ``direction`` is ``P*d``, in which the weight itself has a 1."""

    phase: int
    domain: int
    direction: Array
    low: float
    high: float


@dataclass(frozen=True)
class _Place:
    """A row ``D`` of the caller's space, and what can be asked around it."""

    problem: Problem
    row: Array

    @property
    def geometry(self) -> Geometry:
        return self.problem.original

    @cached_property
    def parts(self) -> tuple[Array, Array]:
        """Weights ``P x d`` and fractions ``P``."""
        W, F = self.geometry.layout.split(self.row)
        return np.asarray(W), np.asarray(F)

    @cached_property
    def polytope(self) -> Polytope:
        return self.geometry.polytope(tuple(float(f) for f in self.parts[1]))

    @cached_property
    def phases(self) -> list[int]:
        return [int(p) for p in np.flatnonzero(self.parts[1] > 1e-9)]

    def rows(self, weights: Array) -> Array:
        """Rows ``n x D`` with other weights ``n x P*d``."""
        rows = np.tile(self.row, (len(weights), 1))
        rows[:, : weights.shape[1]] = weights
        return rows

    def lines(self) -> Iterator[_Line]:
        """The line of every weight of the phases there are."""
        W, tangent = self.parts[0], self.polytope.tangent
        for phase in self.phases:
            for domain in range(W.shape[1]):
                wish = np.zeros_like(W)
                wish[phase:] = (np.eye(W.shape[1])[domain] - W[phase]) * self._follows(phase)
                # Ties and fixed weights leave less than the wish; the weight itself sets the step.
                found = tangent @ (tangent.T @ wish.ravel())
                step = found[phase * W.shape[1] + domain]
                if step > 1e-6:
                    direction = found / step
                    low, high = self.polytope.chord(W.ravel(), direction)
                    yield _Line(phase, domain, direction, low, high)

    def _follows(self, phase: int) -> Array:
        """``P - phase`` rows x 1: phases of no length after this one have its weights."""
        gone = self.parts[1][phase + 1 :] <= 1e-9
        return np.append(1.0, np.cumprod(gone))[:, None]

    def compared(self, left: Array, right: Array) -> tuple[Array, Array, Array, Array]:
        """Objective ``n`` and metrics ``n x m`` of rows minus those of others, each with its sd."""
        pairs = torch.as_tensor(np.stack([left, right], axis=1))
        with torch.no_grad():
            found = self.problem.surrogate.posterior(pairs).distribution
        m, w = len(self.problem.evidence.metrics), self.problem.sign * self.problem.weights
        mean = found.mean.numpy().reshape(-1, 2, m)
        cov = found.covariance_matrix.numpy().reshape(-1, 2, m, 2, m)
        own = cov[:, 0, :, 0] + cov[:, 1, :, 1] - cov[:, 0, :, 1] - cov[:, 1, :, 0]
        gap = mean[:, 0] - mean[:, 1]
        spread = np.sqrt(np.maximum(np.diagonal(own, axis1=1, axis2=2), 0.0))
        return gap @ w, np.sqrt(np.maximum(np.einsum("i,nij,j->n", w, own, w), 0.0)), gap, spread

    def against_baseline(self, weights: Array) -> tuple[Estimate, ...]:
        """The objective at weights ``n x P*d`` minus the baseline's."""
        base = self.geometry.encode(self.geometry.space.baseline_schedule)
        mean, sd, _, _ = self.compared(self.rows(weights), np.tile(base, (len(weights), 1)))
        return tuple(Estimate.of(m, s) for m, s in zip(mean, sd, strict=True))


def _effects(at: _Place, lines: list[_Line]) -> tuple[DomainEffect, ...]:
    if not lines:
        return ()
    W, names = at.parts[0], at.problem.evidence.metrics
    low = np.array([max(line.low, -NEAR / 2) for line in lines])
    high = np.array([min(line.high, NEAR / 2) for line in lines])
    moves = np.array([line.direction for line in lines])
    right, left = (at.rows(W.ravel() + t[:, None] * moves) for t in (high, low))
    points = 100 * (high - low)
    found = [v / (points if v.ndim == 1 else points[:, None]) for v in at.compared(right, left)]
    space = at.geometry.space
    return tuple(
        DomainEffect(
            phase=space.phases[line.phase].name,
            domain=space.names[line.domain],
            weight=float(W[line.phase, line.domain]),
            low=float(W[line.phase, line.domain] + line.low),
            high=float(W[line.phase, line.domain] + line.high),
            objective=Estimate.of(found[0][i], found[1][i]),
            metrics={n: Estimate.of(found[2][i, k], found[3][i, k]) for k, n in enumerate(names)},
        )
        for i, line in enumerate(lines)
    )


def _slice(at: _Place, line: _Line, effect: DomainEffect) -> Slice:
    t = np.linspace(line.low, line.high, STEPS)
    found = at.against_baseline(at.parts[0].ravel() + t[:, None] * line.direction)
    return Slice(effect, tuple(float(v) for v in effect.weight + t), found)


def _ternary(at: _Place, lines: list[_Line], domains: Sequence[str] | None) -> Ternary | None:
    W, names = at.parts[0], at.geometry.space.names
    phase = at.phases[-1]
    movable = [line.domain for line in lines if line.phase == phase]
    if domains is not None:
        movable = [i for i in movable if names[i] in domains]
        if len(domains) != 3 or len(movable) != 3:
            raise StudyError(
                "a map needs three domains whose weights in the last phase can move; got "
                f"{', '.join(domains)}",
                f"choose among {', '.join(names)}",
            )
    if len(movable) < 3:
        return None
    three = sorted(sorted(movable, key=lambda i: -W[phase, i])[:3])
    total = float(W[phase, three].sum())
    steps = [(i, j, SIDE - i - j) for i in range(SIDE + 1) for j in range(SIDE + 1 - i)]
    points = total * np.array(steps, dtype=float) / SIDE
    weights = np.tile(W, (len(points), 1, 1))
    for p in range(phase, len(W)):
        weights[:, p, three] = points
    flat = weights.reshape(len(points), -1)
    inside = at.polytope.violation(flat) < INSIDE
    if not inside.any():
        return None
    space = at.geometry.space
    a, b, c = (space.names[i] for i in three)
    return Ternary(
        phase=space.phases[phase].name,
        domains=(a, b, c),
        total=total,
        points=tuple((float(x), float(y), float(z)) for x, y, z in points[inside]),
        objective=at.against_baseline(flat[inside]),
        recommended=(
            float(W[phase, three[0]]),
            float(W[phase, three[1]]),
            float(W[phase, three[2]]),
        ),
    )
