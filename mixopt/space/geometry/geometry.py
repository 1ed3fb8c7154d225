"""The geometry of a search space: feasible weights, design rows, and schedules from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import SpaceError
from mixopt.space.geometry.clock_and_repetition import rate_clock, repetition_in
from mixopt.space.geometry.constraints import phase_ties, slice_polytope
from mixopt.space.geometry.fraction_grid import fraction_grid
from mixopt.space.geometry.layout import Layout
from mixopt.space.geometry.polytope import Polytope
from mixopt.space.geometry.rate_coordinates import draw_rates, rule_at
from mixopt.space.geometry.tree import blocks, tree_table
from mixopt.space.learning_rate_space import LearningRateSpace, RateAxis
from mixopt.space.mixture import Mixture
from mixopt.space.phase_space import require_known
from mixopt.space.schedule import Phase, Schedule
from mixopt.space.search_space import SearchSpace

Array = NDArray[np.float64]

#: Weights below this one are specks, which cost a trainer a domain and change no loss.
SNAP = 1e-4
#: Decimals of a decoded weight.
DECIMALS = 10


@dataclass(frozen=True, eq=False)
class Geometry:
    """Everything that follows from a search space; ``geometry_of`` gives one per space.

    Notation: d domains, P phases, r searched learning-rate numbers, D columns of a design row. A
    slice is the part of the space with given phase fractions; its weights form a polytope.

    Args:
        space: The search space.
    """

    space: SearchSpace

    def __reduce__(self) -> tuple[Any, tuple[SearchSpace]]:
        # Polytopes are cheap to make and large to send to another process.
        return geometry_of, (self.space,)

    @cached_property
    def layout(self) -> Layout:
        """The columns of a design matrix over the space."""
        return Layout(
            len(self.space.domains),
            len(self.space.phases),
            tuple(axis.phase for axis in self.rate_axes),
            repetition_in(self.space),
            rate_clock(self.space),
        )

    @cached_property
    def rate_axes(self) -> tuple[RateAxis, ...]:
        """The searched numbers of the run's and the phases' learning-rate rules, in that order."""
        rules = [
            (-1, self.space.learning_rate),
            *((i, p.learning_rate) for i, p in enumerate(self.space.phases)),
        ]
        searched = [(i, r) for i, r in rules if isinstance(r, LearningRateSpace)]
        return tuple(axis for i, rule in searched for axis in rule.axes(i))

    def tie_rows(self, phase: int) -> list[tuple[Array, str]]:
        """Rows ``d`` whose product with a phase's weights is 0, each with its meaning."""
        return phase_ties(self.space, phase)

    @cached_property
    def free_weights(self) -> int:
        """The number of weights that ties leave to choose in the freest phase; d without ties."""
        ranks = [[row for row, _ in self.tie_rows(i)] for i in range(len(self.space.phases))]
        tied = min(int(np.linalg.matrix_rank(np.array(rows))) if rows else 0 for rows in ranks)
        return len(self.space.domains) - tied

    @cached_property
    def fraction_choices(self) -> tuple[tuple[float, ...], ...]:
        """Every allowed combination of phase fractions with a non-empty polytope, ``P`` each.

        Raises:
            InfeasibleError: If none has; names the caps that clash and by how much.
        """
        slack = {c: polytope.clash()[0] for c, polytope in self._slices.items()}
        good = tuple(c for c in slack if slack[c] < 1e-7)
        if not good:
            least = min(slack, key=lambda c: slack[c])
            self._slices[least].require_feasible(f"the space {self.space.name!r}")
        return good

    @cached_property
    def _slices(self) -> dict[tuple[float, ...], Polytope]:
        return {c: slice_polytope(self.space, c) for c in fraction_grid(self.space)}

    def polytope(self, fractions: Sequence[float]) -> Polytope:
        """Allowed weights of all phases at given fractions, in ``P * d`` coordinates.

        Weights of a phase with fraction 0 are pinned to those of the phase before it.
        """
        key = tuple(fractions)
        return self._slices[key] if key in self._slices else slice_polytope(self.space, key)

    def rows(self, fractions: Sequence[float], x: Array, rates: Array | None = None) -> Array:
        """Points ``n x P*d`` of a slice as design rows ``n x D``.

        Args:
            fractions: The phase fractions of the slice, ``P``.
            x: The weights ``n x P*d``.
            rates: The coordinates ``n x r`` of the searched learning rates; None for the usual.
        """
        parts = [x]
        if len(self.space.phases) > 1:
            parts.append(np.tile(np.asarray(fractions), (len(x), 1)))
        if self.rate_axes:
            usual = np.array([axis.place(axis.usual) for axis in self.rate_axes])
            rates = np.tile(usual, (len(x), 1)) if rates is None else rates
            there = self.layout.rates_there(np.asarray(fractions, dtype=float))
            parts.append(np.where(there, rates, 0.5))
        return np.hstack(parts) if len(parts) > 1 else x

    def encode(self, schedule: Schedule) -> Array:
        """A schedule as a design row ``D``.

        Phases are matched by name where the schedule has as many as the space, else a single-phase
        schedule fills the first phase.

        Raises:
            SpaceError: If it names a domain or phase that the space has not.
        """
        names = [p.name for p in self.space.phases]
        by_name = self._phases_by_name(schedule)
        weights: list[Array] = []
        first = schedule.phases[0].mixture
        for name in names:
            if name in by_name:
                weights.append(by_name[name].mixture.to_array(self.space.names))
            else:
                weights.append(weights[-1] if weights else first.to_array(self.space.names))
        fractions = [by_name[n].fraction if n in by_name else 0.0 for n in names]
        rules = {-1: schedule.learning_rate}
        rules |= {i: by_name[n].learning_rate for i, n in enumerate(names) if n in by_name}
        rates = np.array([[axis.read(rules.get(axis.phase)) for axis in self.rate_axes]])
        return np.asarray(self.rows(fractions, np.concatenate(weights)[None], rates)[0])

    def _phases_by_name(self, schedule: Schedule) -> dict[str, Phase]:
        require_known(schedule.domains, set(self.space.names), "the schedule")
        names = [p.name for p in self.space.phases]
        if len(schedule.phases) == 1 and schedule.phases[0].name not in names:
            return {names[0]: schedule.phases[0]}
        by_name = {p.name: p for p in schedule.phases}
        unknown = set(by_name) - set(names)
        if unknown:
            raise SpaceError(
                f"the schedule's phases {sorted(unknown)} are not phases of the space ({names})",
                "name the schedule's phases as the space does",
            )
        return by_name

    def decode(self, row: Array) -> Schedule:
        """A design row ``D`` as a schedule.

        Weights are rounded to ten decimals, so that phases that are the same in all but the last
        bits are the same, and endings can branch off one trunk.
        """
        row = np.asarray(row, dtype=float)
        (W, F), rates, axes = self.layout.split(row), self.layout.rate_part(row), self.rate_axes
        phases = [
            Phase(
                name=phase.name,
                fraction=min(float(fraction), 1.0),
                mixture=Mixture.from_array(self.space.names, _rounded(weights)),
                learning_rate=rule_at(phase.learning_rate, axes, index, rates),
            )
            for index, (phase, weights, fraction) in enumerate(
                zip(self.space.phases, W, F, strict=True)
            )
            if fraction > 1e-9
        ]
        rule = rule_at(self.space.learning_rate, axes, -1, rates)
        return Schedule(phases=tuple(phases), learning_rate=rule)

    def without_specks(self, X: Array, keep_trunk: NDArray[np.bool_] | None = None) -> Array:
        """Rows ``n x D`` whose weights under 1e-4 are 0 and the others rescaled.

        Tied weights go together, by their sum. A row in which that would break a limit stays as it
        is, since rescaling lifts the others a little.

        Args:
            X: Feasible rows ``n x D``.
            keep_trunk: ``n`` rows in which only the last phase may change: endings find a trunk's
                checkpoint by its exact weights. None by default.
        """
        W, F = self.layout.split(X)
        moved = np.where(self._whole_blocks(W) < SNAP, 0.0, W)
        moved /= moved.sum(-1, keepdims=True)
        if keep_trunk is not None:
            moved[keep_trunk, :-1] = W[keep_trunk, :-1]
        size = W.shape[1] * W.shape[2]
        flat, out = moved.reshape(len(X), size), X.copy()
        for fractions in np.unique(F, axis=0):
            rows = np.flatnonzero((fractions == F).all(1))
            polytope = self.polytope(tuple(float(f) for f in fractions))
            most = np.maximum(1e-9, polytope.violation(X[rows, :size]))
            kept = rows[polytope.violation(flat[rows]) <= most]
            out[kept, :size] = flat[kept]
        return out

    def _whole_blocks(self, W: Array) -> Array:
        """Weights ``n x P x d``, tied ones replaced by their sum."""
        whole = W.copy()
        for phase in range(W.shape[1]):
            for block in blocks(self.space.names, [row for row, _ in self.tie_rows(phase)]):
                whole[:, phase, block] = W[:, phase, block].sum(-1, keepdims=True)
        return whole

    def sample(self, n: int, rng: np.random.Generator, vertices: float = 0.0) -> Array:
        """Feasible design rows ``n x D``: fractions drawn evenly, weights uniform given them.

        Args:
            n: The number of rows.
            rng: The source of randomness.
            vertices: The share of the rows pulled a random part of the way to a random vertex, so
                that faces are reached too.
        """
        choices = self.fraction_choices
        which = rng.permutation(np.arange(n) % len(choices))
        out = np.empty((n, self.layout.dim))
        for index, fractions in enumerate(choices):
            rows = np.flatnonzero(which == index)
            if len(rows) == 0:
                continue
            polytope = self.polytope(fractions)
            x = polytope.sample(len(rows), rng)
            toward = rng.random(len(rows)) < vertices
            if toward.any():
                corner = polytope.sample_vertices(int(toward.sum()), rng)
                step = np.sqrt(rng.random((len(corner), 1)))
                x[toward] = (1 - step) * x[toward] + step * corner
            out[rows] = self.rows(fractions, x, draw_rates(self.rate_axes, len(rows), rng))
        return out

    def broken(self, schedule: Schedule, tolerance: float = 1e-5) -> list[tuple[str, float]]:
        """Label and amount of every limit a schedule breaks; empty inside the space."""
        row = self.encode(schedule)
        W, F = self.layout.split(row)
        polytope = self.polytope(tuple(float(f) for f in F))
        rates = zip(self.rate_axes, self.layout.rate_part(row), strict=True)
        outside = [
            (
                f"{axis.name} between {axis.low:g} and {axis.high:g}",
                float(abs(u - np.clip(u, 0, 1))),
            )
            for axis, u in rates
            if not -1e-9 <= u <= 1 + 1e-9
        ]
        return [*polytope.broken(W.reshape(-1), tolerance), *outside]

    def summary(self) -> dict[str, Any]:
        """A table to check before spending trials: feasible fractions, caps, the baseline's place.

        Raises:
            InfeasibleError: If nothing is feasible.
        """
        space, choices = self.space, self.fraction_choices
        left_out = [c for c in self._slices if c not in choices]
        tree = tree_table(space.names, space.baseline_schedule.exposure(), space.ties)
        return {
            "name": space.name,
            "domains": len(space.domains),
            "phases": [p.name for p in space.phases],
            "fractions": [list(c) for c in choices],
            "fractions without room": [list(c) for c in left_out],
            "greatest exposure by epoch caps": space.epoch_limits(),
            "baseline": [dict(p.mixture) for p in space.baseline_schedule.phases],
            "limits the baseline breaks": [
                f"{label} by {amount:.4g}" for label, amount in self.broken(space.baseline_schedule)
            ],
            **({"weights ties leave free": self.free_weights, "tree": tree} if tree else {}),
        }


@dataclass(frozen=True)
class _ByValue:
    """A space as the key of a cache: equal spaces are one key, whatever objects they are."""

    space: SearchSpace

    def __hash__(self) -> int:
        # The value holds dictionaries, so it has no hash of its own.
        return hash(self.space.model_dump_json())


@lru_cache(maxsize=64)
def _made(key: _ByValue) -> Geometry:
    return Geometry(key.space)


def geometry_of(space: SearchSpace) -> Geometry:
    """The geometry of a space; equal spaces share one, so that polytopes are made once."""
    return _made(_ByValue(space))


def _rounded(weights: Array) -> Array:
    """Multiples of 1e-10 that sum to 1: what rounding leaves goes to the largest weight."""
    out = np.asarray(np.round(np.maximum(weights, 0.0), DECIMALS), dtype=np.float64)
    top = int(np.argmax(out))
    out[top] = np.round(out[top] + 1 - out.sum(), DECIMALS)
    return out
