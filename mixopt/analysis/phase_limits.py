"""What a space allows schedules of any number of phases, in tokens per phase and domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixopt.space import PhaseSpace, Polytope, SearchSpace, geometry_of
from mixopt.space.geometry.polytope import Constraint

Array = NDArray[np.float64]

#: Least fraction of a phase.
LEAST = 0.02


def phase_space(space: SearchSpace, owners: Sequence[int], *, capped: bool = True) -> SearchSpace:
    """The space with so many phases, each with the rules of the space's phase given for it.

    Args:
        space: The one to change.
        owners: Per new phase, the number of the phase whose rules it keeps.
        capped: Whether to keep the caps on epochs.
    """
    made = tuple(
        PhaseSpace(
            name=f"phase {i + 1}",
            fraction=1 / len(owners),
            domains=space.phases[p].domains,
            bounds=space.phases[p].bounds,
            groups=space.phases[p].groups,
            ties=space.phases[p].ties,
        )
        for i, p in enumerate(owners)
    )
    # Made anew: a copy would keep the polytopes of the old phases.
    known = {name: getattr(space, name) for name in SearchSpace.model_fields}
    plain: dict[str, Any] = {
        "phases": made,
        "baseline": "uniform",
        "learning_rate": space.usual_rule,
    }
    if not capped:
        bare = tuple(d.model_copy(update={"max_epochs": None}) for d in space.domains)
        plain |= {"domains": bare, "max_epochs": None}
    return SearchSpace(**{**known, **plain})


def _ranges(space: SearchSpace) -> list[tuple[float, float]]:
    """Least and greatest fraction of each phase of the space, where it exists."""
    choices = np.array(geometry_of(space).fraction_choices)
    out = []
    for column in choices.T:
        there = column[column > 1e-9]
        out.append((float(there.min()), float(there.max())) if len(there) else (0.0, 0.0))
    return out


def token_polytope(space: SearchSpace, owners: Sequence[int]) -> Polytope:
    """What the rules say about tokens per phase and domain, ``P * d`` coordinates."""
    n, d = len(owners), len(space.names)
    per_phase = np.repeat(np.eye(n), d, axis=1)
    # A rule on the weights of a phase, a.w <= b, is a.t <= b sum(t) in its tokens t.
    free = geometry_of(phase_space(space, owners, capped=False)).polytope((1 / n,) * n)
    rows = [
        Constraint(_homogeneous(a, b, per_phase), 0.0, "a rule")
        for a, b in zip(free.A, free.b, strict=True)
    ]
    equal = [
        Constraint(_homogeneous(a, b, per_phase), 0.0, "a rule")
        for a, b in zip(free.E, free.e, strict=True)
    ]
    equal = [row for row in equal if np.abs(row.a).max() > 1e-12]
    rows += [Constraint(-row, -LEAST, "a phase lasts") for row in per_phase]
    if len(set(owners)) > 1:
        for p, (low, high) in enumerate(_ranges(space)):
            inside = np.array([float(owner == p) for owner in owners])
            least = LEAST * inside.sum()
            tokens = inside @ per_phase
            rows.append(Constraint(tokens, max(high, least), "a phase is at most so long"))
            rows.append(Constraint(-tokens, -low, "a phase is at least so long"))
    for name, limit in space.epoch_limits().items():
        if limit < 1:
            one = np.array([float(other == name) for other in space.names])
            rows.append(Constraint(np.tile(one, n), limit, f"epoch cap {name}"))
    equal.append(Constraint(np.ones(n * d), 1.0, "all tokens"))
    return Polytope.of(rows, equal, n * d)


def _homogeneous(a: Array, b: float, per_phase: Array) -> Array:
    """``a.w <= b`` on the weights of one phase, as ``row.t <= 0`` on its tokens."""
    phase = int(np.argmax(np.abs(per_phase * a).sum(1)))
    return np.asarray(a - b * per_phase[phase])
