"""What can be chosen: weights and fractions of the phases, under bounds and caps."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from mixopt.errors import SpaceError
from mixopt.space.geometry.constraints import slice_polytope
from mixopt.space.geometry.layout import Layout, RateClock, Repetition
from mixopt.space.geometry.polytope import Polytope
from mixopt.space.geometry.tree import (
    blocks,
    flattened,
    inner_nodes,
    leaves,
    require_agreement,
    tie_rows,
    tree_table,
)
from mixopt.space.learning_rate import (
    LearningRateSpace,
    RateAxis,
    RateChoice,
    chosen_rule,
    draw_rates,
    rate_clock,
)
from mixopt.space.mixture import Domain, LearningRate, Mixture
from mixopt.space.model import Frozen
from mixopt.space.phase_space import PhaseSpace, Ties, check_phase, require_known
from mixopt.space.schedule import Fidelity, Phase, Schedule
from mixopt.space.yamlfile import validate_yaml

Array = NDArray[np.float64]

SNAP = 1e-4
DECIMALS = 10


def _is_empty(value: Any) -> bool:
    return not value


class SearchSpace(Frozen):
    """What can be chosen, and what it is chosen for.

    Attributes:
        name: Of the space.
        domains: The training data sources.
        phases: One or more, in order.
        baseline: What the team would train on without mixopt: ``natural`` (shares of the available
            tokens), ``uniform``, a mixture, or a whole schedule.
        target: The fidelity one really cares for; its tokens set the epoch caps.
        max_epochs: Cap on every domain's epochs at the target; None for no cap.
        r_star: Epochs after which a repeated token has lost most of its worth, for domains
            without one of their own (15.39: Muennighoff et al., arXiv 2305.16264); None for
            repeated tokens that are worth as much as fresh ones.
        learning_rate: The rule over the whole run; its peak and warm-up may be searched.
        source: Where the figures come from.
        ties: Proportions kept inside inner nodes of the domains' tree: per node, or pattern such as
            ``web/*``, ``natural`` (by tokens) or the share of each part.
    """

    name: str = "space"
    domains: Annotated[tuple[Domain, ...], Field(min_length=2)]
    phases: Annotated[tuple[PhaseSpace, ...], Field(min_length=1)] = (PhaseSpace(),)
    baseline: Literal["natural", "uniform"] | Mixture | Schedule = "natural"
    target: Fidelity | None = None
    max_epochs: Annotated[float, Field(gt=0)] | None = None
    r_star: Annotated[float | None, Field(gt=0, exclude_if=lambda value: value is None)] = None
    learning_rate: RateChoice | None = None
    source: str | None = None
    # Left out where empty: the configuration of a flat space is what it was before trees.
    ties: Annotated[Ties, Field(exclude_if=_is_empty)] = {}

    @model_validator(mode="before")
    @classmethod
    def _as_tree(cls, data: Any) -> Any:
        """Nested domains become paths, and what they say is tied joins the ties."""
        if not (isinstance(data, dict) and isinstance(data.get("domains"), dict)):
            return data
        flat, ties = flattened(data["domains"])
        return {**data, "domains": flat} | (
            {"ties": {**(data.get("ties") or {}), **ties}} if ties else {}
        )

    @field_validator("domains", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """YAML may map names to what is known of each domain."""
        if isinstance(value, dict):
            return [{"name": name, **(known or {})} for name, known in value.items()]
        if isinstance(value, (list, tuple)):
            return [{"name": v} if isinstance(v, str) else v for v in value]
        return value

    @field_validator("baseline", mode="before")
    @classmethod
    def _as_baseline(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return Schedule.model_validate(value) if "phases" in value else Mixture(value)
        return value

    @model_validator(mode="after")
    def _known(self) -> SearchSpace:
        _refuse_repeats([d.name for d in self.domains], "domain")
        _refuse_repeats([p.name for p in self.phases], "phase")
        known = set(self.names)
        for index, phase in enumerate(self.phases):
            check_phase(
                phase, known, [p.name for p in self.phases[:index]], inner_nodes(self.names)
            )
            require_agreement(self.names, self.supply, phase.ties or {})
        require_agreement(self.names, self.supply, self.ties)
        if isinstance(self.baseline, (Mixture, Schedule)):
            named = self.baseline.domains if isinstance(self.baseline, Schedule) else self.baseline
            require_known(named, known, "the baseline")
        elif self.baseline == "natural":
            self._natural_amounts()
        if isinstance(self.learning_rate, LearningRateSpace) and all(
            p.learning_rate is not None for p in self.phases
        ):
            raise SpaceError(
                "the run's learning rate is searched, but every phase has a rule of its own",
                "search it in the phases, or leave their rules out",
            )
        if (self.target is None) and self._capped:
            raise SpaceError(
                "an epoch cap needs the target's tokens; the space names no target",
                "add `target: {parameters: ..., tokens: ...}`",
            )
        if self.target is None and (self.r_star or any(d.r_star for d in self.domains)):
            raise SpaceError(
                "what repeated tokens are worth depends on the target's tokens; the space gives an "
                "r_star and names no target",
                "add `target: {parameters: ..., tokens: ...}`",
            )
        return self

    @classmethod
    def from_yaml(cls, path: str | Path) -> SearchSpace:
        """Read a space; an error names the file, line and key."""
        return validate_yaml(cls, path)

    def to_yaml(self) -> str:
        """The space as YAML that ``from_yaml`` reads back to an equal space."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The domains' names, in the order of every array."""
        return tuple(d.name for d in self.domains)

    @property
    def layout(self) -> Layout:
        """The columns of a design matrix over this space."""
        return Layout(
            len(self.domains),
            len(self.phases),
            tuple(axis.phase for axis in self.rate_axes),
            self._repetition,
            self._clock,
        )

    @cached_property
    def _clock(self) -> RateClock | None:
        rules = [chosen_rule(p.learning_rate, self.rate_axes, i) for i, p in enumerate(self.phases)]
        return rate_clock(self.usual_rule, rules) if len(self.phases) > 1 else None

    @cached_property
    def _repetition(self) -> Repetition | None:
        worth = [d.r_star if d.r_star is not None else self.r_star for d in self.domains]
        if self.target is None or all(r is None for r in worth):
            return None
        return Repetition(
            tuple(
                float("inf") if d.tokens is None or r is None else float(d.tokens)
                for d, r in zip(self.domains, worth, strict=True)
            ),
            tuple(1.0 if r is None else r for r in worth),
            float(self.target.tokens),
        )

    @cached_property
    def rate_axes(self) -> tuple[RateAxis, ...]:
        """The searched numbers of the run's and the phases' learning-rate rules, in that order."""
        rules = [
            (-1, self.learning_rate),
            *((i, p.learning_rate) for i, p in enumerate(self.phases)),
        ]
        searched = [(i, r) for i, r in rules if isinstance(r, LearningRateSpace)]
        return tuple(axis for i, rule in searched for axis in rule.axes(i))

    @property
    def usual_rule(self) -> LearningRate | None:
        """The rule over the whole run, where nothing is searched or with its usual numbers."""
        return chosen_rule(self.learning_rate, self.rate_axes, -1)

    @property
    def _capped(self) -> bool:
        return self.max_epochs is not None or any(d.max_epochs is not None for d in self.domains)

    @property
    def supply(self) -> dict[str, int | None]:
        """Tokens available per domain."""
        return {d.name: d.tokens for d in self.domains}

    def _natural_amounts(self) -> dict[str, float]:
        unknown = [d.name for d in self.domains if d.tokens is None]
        if unknown:
            raise SpaceError(
                f"the natural mixture needs the tokens of every domain; {unknown} have none",
                "give their tokens, or a baseline mixture",
            )
        return {d.name: float(d.tokens or 0) for d in self.domains}

    def leaves(self, node: str) -> tuple[str, ...]:
        """The domains at or under a node of the tree, in order."""
        return leaves(self.names, node)

    def tie_rows(self, phase: int) -> list[tuple[Array, str]]:
        """Rows ``d`` whose product with a phase's weights is 0, with what each means."""
        at = self.phases[phase]
        ties = self.ties if at.ties is None else at.ties
        if not ties or at.fixed is not None or at.tied is not None:
            return []
        allowed = None if at.domains is None else [n for k in at.domains for n in self.leaves(k)]
        return list(tie_rows(self.names, self.supply, ties, allowed))

    @property
    def free_weights(self) -> int:
        """How many weights ties leave to choose in the freest phase; d without ties."""
        ranks = [[row for row, _ in self.tie_rows(i)] for i in range(len(self.phases))]
        tied = min(int(np.linalg.matrix_rank(np.array(rows))) if rows else 0 for rows in ranks)
        return len(self.domains) - tied

    @property
    def natural(self) -> Mixture:
        """Shares of the available tokens."""
        return Mixture.normalized(self._natural_amounts())

    @property
    def uniform(self) -> Mixture:
        """The same weight for every domain."""
        return Mixture.uniform(self.names)

    @property
    def baseline_schedule(self) -> Schedule:
        """What the team would train on without mixopt."""
        if isinstance(self.baseline, Schedule):
            return self.baseline
        if isinstance(self.baseline, Mixture):
            return Schedule.static(self.baseline, self.usual_rule)
        mixture = self.natural if self.baseline == "natural" else self.uniform
        return Schedule.static(mixture, self.usual_rule)

    def epoch_limits(self) -> dict[str, float]:
        """Greatest exposure per capped domain, as a share of the target's tokens."""
        limits: dict[str, float] = {}
        for domain in self.domains:
            cap = domain.max_epochs if domain.max_epochs is not None else self.max_epochs
            if cap is not None and domain.tokens is not None and self.target is not None:
                limits[domain.name] = cap * domain.tokens / self.target.tokens
        return limits

    @cached_property
    def fraction_choices(self) -> tuple[tuple[float, ...], ...]:
        """Every allowed combination of phase fractions with a non-empty polytope, ``P`` each.

        Raises:
            InfeasibleError: If none has; names the caps that clash and by how much.
        """
        choices = self._fraction_grid()
        good = [c for c in choices if self._slices[c].clash()[0] < 1e-7]
        if not good:
            least = min(choices, key=lambda c: self._slices[c].clash()[0])
            self._slices[least].require_feasible(f"the space {self.name!r}")
        return tuple(good)

    @cached_property
    def _slices(self) -> dict[tuple[float, ...], Polytope]:
        return {c: slice_polytope(self, c) for c in self._fraction_grid()}

    def _fraction_grid(self) -> list[tuple[float, ...]]:
        levels = [p.levels() for p in self.phases]
        rest = [i for i, level in enumerate(levels) if level is None]
        if len(rest) > 1:
            raise SpaceError(
                f"only one phase may leave its fraction open; phases "
                f"{[self.phases[i].name for i in rest]} do",
                "give the others a fraction",
            )
        grid = []
        for combo in itertools.product(*[(0.0,) if v is None else v for v in levels]):
            left = 1 - sum(combo)
            row = [*combo]
            if rest:
                row[rest[0]] = round(left, 10)
            if left > 1e-9 if rest else abs(left) < 1e-6:
                grid.append(tuple(row))
        if not grid:
            raise SpaceError(
                f"the fractions of the phases {[p.name for p in self.phases]} never sum to 1",
                "leave the base phase's fraction out: it then takes the remainder",
            )
        return grid

    def polytope(self, fractions: Sequence[float]) -> Polytope:
        """Allowed weights of all phases at given fractions, in ``P * d`` coordinates.

        Weights of a phase with fraction 0 are pinned to those of the phase before it.
        """
        key = tuple(fractions)
        return self._slices[key] if key in self._slices else slice_polytope(self, key)

    def rows(self, fractions: Sequence[float], x: Array, rates: Array | None = None) -> Array:
        """Points ``n x P*d`` of a slice as design rows ``n x D``.

        Args:
            fractions: Of the slice.
            x: Weights.
            rates: ``n x r`` coordinates of the searched learning rates; None for the usual ones.
        """
        parts = [x]
        if len(self.phases) > 1:
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
        require_known(schedule.domains, set(self.names), "the schedule")
        by_name = {p.name: p for p in schedule.phases}
        names = [p.name for p in self.phases]
        if len(schedule.phases) == 1 and schedule.phases[0].name not in names:
            by_name = {names[0]: schedule.phases[0]}
        unknown = set(by_name) - set(names)
        if unknown:
            raise SpaceError(
                f"the schedule's phases {sorted(unknown)} are not phases of the space ({names})",
                "name the schedule's phases as the space does",
            )
        weights: list[Array] = []
        first = schedule.phases[0].mixture
        for name in names:
            if name in by_name:
                weights.append(by_name[name].mixture.to_array(self.names))
            else:
                weights.append(weights[-1] if weights else first.to_array(self.names))
        fractions = [by_name[n].fraction if n in by_name else 0.0 for n in names]
        rules = {-1: schedule.learning_rate}
        rules |= {i: by_name[n].learning_rate for i, n in enumerate(names) if n in by_name}
        rates = np.array([[axis.read(rules.get(axis.phase)) for axis in self.rate_axes]])
        return np.asarray(self.rows(fractions, np.concatenate(weights)[None], rates)[0])

    def decode(self, row: Array) -> Schedule:
        """A design row ``D`` as a schedule.

        Weights under 1e-4 become 0 and the rest is rescaled, unless that would break a limit.
        Then they are rounded to ten decimals, so that phases that are the same in all but the last
        bits are the same, and endings can branch off one trunk.
        """
        row = self._snapped(np.asarray(row, dtype=float))
        (W, F), rates, axes = self.layout.split(row), self.layout.rate_part(row), self.rate_axes
        phases = [
            Phase(
                name=space.name,
                fraction=min(float(fraction), 1.0),
                mixture=Mixture.from_array(self.names, _rounded(weights)),
                learning_rate=chosen_rule(space.learning_rate, axes, index, rates),
            )
            for index, (space, weights, fraction) in enumerate(zip(self.phases, W, F, strict=True))
            if fraction > 1e-9
        ]
        rule = chosen_rule(self.learning_rate, axes, -1, rates)
        return Schedule(phases=tuple(phases), learning_rate=rule)

    def _snapped(self, row: Array) -> Array:
        W, F = self.layout.split(row)
        kept = np.stack([self._without_specks(i, w) for i, w in enumerate(W)])
        kept /= kept.sum(-1, keepdims=True)
        polytope = self.polytope(tuple(float(f) for f in F))
        # Rescaling lifts the others a little, which a binding cap does not allow.
        if polytope.violation(kept.reshape(1, -1))[0] > max(
            1e-9, polytope.violation(W.reshape(1, -1))[0]
        ):
            return row
        rates = self.layout.rate_part(row)[None]
        return np.asarray(self.rows([float(f) for f in F], kept.reshape(1, -1), rates)[0])

    def _without_specks(self, phase: int, weights: Array) -> Array:
        """Weights under 1e-4 set to 0; tied ones all together, by their sum."""
        whole = weights.copy()
        for block in blocks(self.names, [row for row, _ in self.tie_rows(phase)]):
            whole[block] = weights[block].sum()
        return np.where(whole < SNAP, 0.0, weights)

    def sample(self, n: int, rng: np.random.Generator, vertices: float = 0.0) -> Array:
        """Feasible design rows ``n x D``: fractions drawn evenly, weights uniform given them.

        Args:
            n: Number of rows.
            rng: Source of randomness.
            vertices: Share of the rows pulled a random part of the way to a random vertex, so that
                faces are reached too.
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
        """What a reader checks before spending trials: feasibility, caps and the baseline's place.

        Raises:
            InfeasibleError: If nothing is feasible.
        """
        choices = self.fraction_choices
        left_out = [c for c in self._fraction_grid() if c not in choices]
        tree = tree_table(self.names, self.baseline_schedule.exposure(), self.ties)
        return {
            "name": self.name,
            "domains": len(self.domains),
            "phases": [p.name for p in self.phases],
            "fractions": [list(c) for c in choices],
            "fractions without room": [list(c) for c in left_out],
            "greatest exposure by epoch caps": self.epoch_limits(),
            "baseline": [dict(p.mixture) for p in self.baseline_schedule.phases],
            "limits the baseline breaks": [
                f"{label} by {amount:.4g}" for label, amount in self.broken(self.baseline_schedule)
            ],
            **({"weights ties leave free": self.free_weights, "tree": tree} if tree else {}),
        }


def _rounded(weights: Array) -> Array:
    """Multiples of 1e-10 that sum to 1: what rounding leaves goes to the largest weight."""
    out = np.asarray(np.round(np.maximum(weights, 0.0), DECIMALS), dtype=np.float64)
    top = int(np.argmax(out))
    out[top] = np.round(out[top] + 1 - out.sum(), DECIMALS)
    return out


def _refuse_repeats(names: Sequence[str], what: str) -> None:
    twice = sorted({n for n in names if list(names).count(n) > 1})
    if twice:
        raise SpaceError(f"every {what} needs its own name; {twice} stand twice", "rename one")
