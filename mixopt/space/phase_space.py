"""The search space of one phase: its mixture, its share of the tokens, its learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from mixopt.errors import SpaceError
from mixopt.space.learning_rate_space import SearchableRate
from mixopt.space.mixture import Mixture
from mixopt.space.model import Frozen

Share = Annotated[float, Field(ge=0, le=1)]
Ties = dict[str, Literal["natural"] | dict[str, Share]]


class GroupBound(Frozen):
    """A bound on the summed weight of several domains.

    Attributes:
        name: The group's name in an error.
        domains: The domains or inner nodes in the group.
        min: The least summed weight.
        max: The greatest summed weight.
    """

    name: str = ""
    domains: Annotated[tuple[str, ...], Field(min_length=1)]
    min: Share = 0.0
    max: Share = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> GroupBound:
        if self.min > self.max:
            raise SpaceError(
                f"a group's min must not exceed its max; got {self.min:g} > {self.max:g}",
                "swap them",
            )
        return self


class FractionGrid(Frozen):
    """Fractions in equal steps.

    Attributes:
        min: The lowest fraction.
        max: The highest fraction.
        step: The distance between two fractions.
    """

    min: Annotated[Share, Field(examples=[0.05])]
    max: Annotated[Share, Field(examples=[0.3])]
    step: Annotated[float, Field(gt=0, le=1)] = 0.05

    @model_validator(mode="after")
    def _ordered(self) -> FractionGrid:
        if self.min > self.max:
            raise SpaceError(
                f"the fractions' min must not exceed their max; got {self.min:g} > {self.max:g}",
                "swap them",
            )
        return self

    def levels(self) -> tuple[float, ...]:
        """Every fraction on the grid, both ends included."""
        count = max(round((self.max - self.min) / self.step), 1) if self.max > self.min else 0
        return tuple(float(v) for v in np.round(np.linspace(self.min, self.max, count + 1), 10))


class PhaseSpace(Frozen):
    """What can be chosen for one phase.

    Attributes:
        name: The phase's name.
        fraction: A share of the training tokens, the shares to choose from, or a grid; None for
            the share that the other phases leave. 0 leaves the phase out.
        fixed: The phase's mixture, where there is nothing to choose.
        tied: The name of an earlier phase whose mixture this one shares.
        domains: The domains that the phase may use; None for all.
        bounds: The least and greatest weight per domain, or summed weight per inner node.
        groups: The bounds on summed weights.
        ties: The proportions kept in this phase, in place of the space's; ``{}`` for none.
        learning_rate: The phase's own rule; its peak and warm-up may be searched.
    """

    name: str = "base"
    fraction: Annotated[
        Share | tuple[Share, ...] | FractionGrid | None, Field(examples=[[0, 0.1, 0.2]])
    ] = None
    fixed: Mixture | None = None
    tied: str | None = None
    domains: tuple[str, ...] | None = None
    bounds: Annotated[dict[str, tuple[Share, Share]], Field(examples=[{"web": [0.1, 0.6]}])] = {}
    groups: tuple[GroupBound, ...] = ()
    ties: Annotated[Ties | None, Field(exclude_if=lambda value: value is None)] = None
    learning_rate: SearchableRate | None = None

    @model_validator(mode="after")
    def _ordered(self) -> PhaseSpace:
        for name, (low, high) in self.bounds.items():
            if low > high:
                raise SpaceError(
                    f"the bounds of {name!r} in phase {self.name!r} must rise; got [{low:g}, "
                    f"{high:g}]",
                    "swap them",
                )
        return self

    def levels(self) -> tuple[float, ...] | None:
        """The fractions to choose from; None for the remainder."""
        if self.fraction is None:
            return None
        if isinstance(self.fraction, FractionGrid):
            return self.fraction.levels()
        if isinstance(self.fraction, tuple):
            return self.fraction
        return (self.fraction,)


def require_known(names: Any, known: set[str], where: str) -> None:
    """Refuse names that the space has not."""
    unknown = [n for n in names if n not in known]
    if unknown:
        raise SpaceError(
            f"{where} names the unknown domains {unknown}", f"the space has {sorted(known)}"
        )


def check_phase(
    phase: PhaseSpace, known: set[str], earlier: list[str], nodes: Sequence[str]
) -> None:
    """Refuse a phase that names unknown domains, nodes or phases."""
    where = f"phase {phase.name!r}"
    require_known(phase.fixed or (), known, where)
    known = known | set(nodes)
    require_known(phase.domains or (), known, where)
    require_known(phase.bounds, known, f"the bounds of {where}")
    for group in phase.groups:
        require_known(group.domains, known, f"the group {group.name!r} of {where}")
    if phase.tied is not None and phase.tied not in earlier:
        raise SpaceError(
            f"{where} is tied to {phase.tied!r}, which is not an earlier phase",
            f"earlier phases are {earlier}",
        )
    if phase.tied is not None and phase.fixed is not None:
        raise SpaceError(f"{where} is both tied and fixed", "keep one of the two")
