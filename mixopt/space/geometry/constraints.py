"""The constraints of the polytope: a row per bound, cap, tie and pin of every phase."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mixopt.space.domain_tree import leaves
from mixopt.space.geometry.polytope import Constraint, ConstraintKind, Polytope
from mixopt.space.search_space import SearchSpace
from mixopt.space.ties import tie_rows

Array = NDArray[np.float64]


def slice_polytope(space: SearchSpace, fractions: Sequence[float]) -> Polytope:
    """Allowed weights at given fractions, ``P * d`` coordinates, phase after phase.

    With the fractions given every limit is linear in the weights, the epoch caps over the whole
    schedule included.
    """
    rows: list[Constraint] = []
    equal: list[Constraint] = []
    for index, phase in enumerate(space.phases):
        whole = _spread(space, index, np.ones(len(space.names)))
        equal.append(Constraint(whole, 1.0, f"the weights of phase {phase.name!r} sum to 1"))
        rows.extend(_not_negative(space, index))
        if fractions[index] <= 1e-9 and index > 0:
            equal.extend(_same_as(space, index, index - 1))
        else:
            rows.extend(_limits(space, index))
            equal.extend(_pins(space, index))
            equal.extend(
                Constraint(_spread(space, index, row), 0.0, f"{label} in phase {phase.name!r}")
                for row, label in phase_ties(space, index)
            )
    rows.extend(_epoch_caps(space, fractions))
    return Polytope.of(rows, equal, len(space.phases) * len(space.names))


def phase_ties(space: SearchSpace, phase: int) -> list[tuple[Array, str]]:
    """Rows ``d`` whose product with a phase's weights is 0, each with its meaning."""
    at = space.phases[phase]
    ties = space.ties if at.ties is None else at.ties
    if not ties or at.fixed is not None or at.tied is not None:
        return []
    allowed = None if at.domains is None else [n for k in at.domains for n in space.leaves(k)]
    return list(tie_rows(space.names, space.supply, ties, allowed))


def _spread(space: SearchSpace, phase: int, values: Array) -> Array:
    d = len(space.domains)
    row = np.zeros(len(space.phases) * d)
    row[phase * d : (phase + 1) * d] = values
    return row


def _one(space: SearchSpace, phase: int, names: Sequence[str]) -> Array:
    """The summed weight of domains, and of all domains under inner nodes."""
    every = space.names
    inside = {leaf for name in names for leaf in leaves(every, name)}
    return _spread(space, phase, np.array([float(n in inside) for n in every]))


def _each(space: SearchSpace, phase: int) -> Iterator[tuple[str, Array]]:
    """Every domain's name and weight."""
    units = (_spread(space, phase, unit) for unit in np.eye(len(space.domains)))
    return zip(space.names, units, strict=True)


def _not_negative(space: SearchSpace, phase: int) -> Iterator[Constraint]:
    for name, weight in _each(space, phase):
        label = f"weight of {name} in phase {space.phases[phase].name!r} at least 0"
        yield Constraint(-weight, 0.0, label, ConstraintKind.sign)


def _limits(space: SearchSpace, index: int) -> Iterator[Constraint]:
    phase = space.phases[index]
    if phase.fixed is not None or phase.tied is not None:
        return
    bounds = [(f"bound {n}", [n], *ends) for n, ends in phase.bounds.items()]
    for g in phase.groups:
        bounds.append((f"group {g.name or '+'.join(g.domains)}", list(g.domains), g.min, g.max))
    for title, names, low, high in bounds:
        row, where = _one(space, index, names), f"in phase {phase.name!r}"
        if high < 1:
            yield Constraint(row, high, f"{title} <= {high:g} {where}")
        if low > 0:
            yield Constraint(-row, -low, f"{title} >= {low:g} {where}")


def _pins(space: SearchSpace, index: int) -> Iterator[Constraint]:
    phase = space.phases[index]
    if phase.fixed is not None:
        for name, weight in list(_each(space, index))[:-1]:
            label = f"phase {phase.name!r} fixed"
            yield Constraint(weight, phase.fixed.get(name, 0.0), label)
    elif phase.tied is not None:
        tied = [p.name for p in space.phases].index(phase.tied)
        yield from _same_as(space, index, tied)
    elif phase.domains is not None:
        allowed = [leaf for name in phase.domains for leaf in space.leaves(name)]
        for name, weight in _each(space, index):
            if name not in allowed:
                yield Constraint(weight, 0.0, f"{name} is not in phase {phase.name!r}")


def _same_as(space: SearchSpace, index: int, other: int) -> Iterator[Constraint]:
    label = f"phase {space.phases[index].name!r} as {space.phases[other].name!r}"
    pairs = list(zip(_each(space, index), _each(space, other), strict=True))
    for (_, own), (_, same) in pairs[:-1]:
        yield Constraint(own - same, 0.0, label)


def _epoch_caps(space: SearchSpace, fractions: Sequence[float]) -> Iterator[Constraint]:
    limits, d = space.epoch_limits(), len(space.domains)
    for j, name in enumerate(space.names):
        # A share of all tokens never exceeds 1, and an idle row would only slow the sampler.
        if limits.get(name, 1.0) >= 1:
            continue
        row = np.kron(np.asarray(fractions), np.eye(d)[j])
        label = f"epoch cap {name} <= {limits[name]:.4g} of the target's tokens"
        yield Constraint(row, limits[name], label)
