"""The search space: weights, fractions and learning rates of the phases, under bounds and caps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationInfo, field_validator, model_validator

from mixopt.errors import SpaceError
from mixopt.space.complaints import shown
from mixopt.space.display import as_html
from mixopt.space.domain_tree import flattened, inner_nodes, leaves
from mixopt.space.learning_rate import LearningRate
from mixopt.space.learning_rate_space import LearningRateSpace, SearchableRate, usual_rule
from mixopt.space.mixture import Domain, Mixture
from mixopt.space.model import Frozen
from mixopt.space.phase_space import PhaseSpace, Ties, check_phase, require_known
from mixopt.space.schedule import Fidelity, Schedule
from mixopt.space.ties import require_agreement
from mixopt.space.yamlfile import validate_yaml

#: Context of a validation after which a corpus tells the tokens that the space does not give.
COUNTED_LATER = {"tokens": "counted later"}


class SearchSpace(Frozen):
    """What can be chosen, and the target it is chosen for: a pure value.

    What follows from it (feasible weights, design rows, samples) is in
    :func:`mixopt.space.geometry_of`, never here, so that a changed copy has limits of its own.

    Attributes:
        name: The space's name.
        domains: The training data sources, two or more.
        phases: The phases in order, one or more.
        baseline: The schedule that the team would use without mixopt: ``natural`` (shares of the
            available tokens), ``uniform``, a mixture, or a whole schedule.
        target: The fidelity of the real run; its tokens set the epoch caps.
        max_epochs: The cap on every domain's epochs at the target; None for no cap.
        r_star: The epochs after which a repeated token has lost most of its worth, for domains
            without one of their own (15.39: Muennighoff et al., arXiv 2305.16264); None for
            repeated tokens that are worth as much as fresh ones.
        learning_rate: The rule over the whole run; its peak and warm-up may be searched.
        source: The origin of the figures.
        ties: Proportions kept inside inner nodes of the domains' tree: per node, or pattern such as
            ``web/*``, ``natural`` (by tokens) or the share of each part.
    """

    name: str = "space"
    domains: Annotated[
        tuple[Domain, ...],
        Field(min_length=2, examples=[{"web": {"tokens": "800B"}, "code": {"tokens": "90B"}}]),
    ]
    phases: Annotated[tuple[PhaseSpace, ...], Field(min_length=1)] = (PhaseSpace(),)
    baseline: Literal["natural", "uniform"] | Mixture | Schedule = "natural"
    target: Fidelity | None = None
    max_epochs: Annotated[float, Field(gt=0)] | None = None
    r_star: Annotated[float | None, Field(gt=0, exclude_if=lambda value: value is None)] = None
    learning_rate: SearchableRate | None = None
    source: str | None = None
    # Left out where empty: the configuration of a flat space is what it was before trees.
    ties: Annotated[Ties, Field(exclude_if=lambda value: not value)] = {}

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
            return [{"name": name, **_known(name, known)} for name, known in value.items()]
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
    def _known(self, info: ValidationInfo) -> SearchSpace:
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
        elif self.baseline == "natural" and info.context is not COUNTED_LATER:
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

    def _repr_html_(self) -> str:
        return as_html(self)

    @property
    def names(self) -> tuple[str, ...]:
        """The domains' names, in the order of every array."""
        return tuple(d.name for d in self.domains)

    @property
    def usual_rule(self) -> LearningRate | None:
        """The rule over the whole run, with the usual value of every searched number."""
        return usual_rule(self.learning_rate)

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
        """The schedule that the team would use without mixopt."""
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


def _known(name: str, known: Any) -> dict[str, Any]:
    if known is not None and not isinstance(known, dict):
        raise SpaceError(
            f"what is known of the domain {name!r} must be keys and values; got {shown(known)}",
            f"write `{name}: {{tokens: 800B}}`",
        )
    return known or {}


def _refuse_repeats(names: Sequence[str], what: str) -> None:
    twice = sorted({n for n in names if list(names).count(n) > 1})
    if twice:
        raise SpaceError(f"every {what} needs its own name; {twice} stand twice", "rename one")
