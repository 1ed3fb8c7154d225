"""Fidelities, phases and schedules: one training run's size and its mixtures in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from mixopt.errors import SpaceError
from mixopt.space.display import as_html
from mixopt.space.learning_rate import LearningRate
from mixopt.space.mixture import SUM_TOLERANCE, Mixture
from mixopt.space.model import Frozen
from mixopt.space.rounding import largest_remainder


class Fidelity(Frozen):
    """The size of a run.

    Attributes:
        parameters: The number of non-embedding parameters.
        tokens: The number of training tokens.
    """

    parameters: Annotated[int, Field(gt=0, examples=["1.5M"])]
    tokens: Annotated[int, Field(gt=0, examples=["30M"])]

    @property
    def flops(self) -> float:
        """Training cost, 6 FLOPs per parameter and token (Kaplan et al., arXiv 2001.08361)."""
        return 6.0 * self.parameters * self.tokens


class Phase(Frozen):
    """A stretch of training with one mixture and one learning-rate rule.

    Attributes:
        name: The phase's name: ``base``, ``ending``, ...
        fraction: The phase's share of the run's training tokens.
        mixture: The mixture of its training data.
        learning_rate: The phase's own rule; None to follow the run's.
    """

    name: str = "base"
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    mixture: Mixture
    learning_rate: LearningRate | None = None


class Schedule(Frozen):
    """The ordered phases of one training run.

    Attributes:
        phases: One phase or more; their fractions sum to 1.
        learning_rate: The rule over the whole run, for phases without one of their own.
    """

    phases: tuple[Phase, ...]
    learning_rate: LearningRate | None = None

    @model_validator(mode="after")
    def _whole(self) -> Schedule:
        if not self.phases:
            raise SpaceError("a schedule needs at least one phase", "give it a base phase")
        total = sum(p.fraction for p in self.phases)
        if abs(total - 1) > SUM_TOLERANCE:
            raise SpaceError(
                f"the fractions of a schedule's phases must sum to 1; they sum to {total:.6g}",
                "a fraction is a share of the run's training tokens",
            )
        return self

    @classmethod
    def static(
        cls, mixture: Mixture | Mapping[str, float], learning_rate: LearningRate | None = None
    ) -> Schedule:
        """One phase, one mixture."""
        phase = Phase(mixture=Mixture(mixture))
        return cls(phases=(phase,), learning_rate=learning_rate)

    @classmethod
    def two_phase(
        cls,
        base: Mixture | Mapping[str, float],
        ending: Mixture | Mapping[str, float],
        upsample_fraction: float,
        learning_rate: LearningRate | None = None,
    ) -> Schedule:
        """A base mixture, then another for the last ``upsample_fraction`` of the tokens."""
        if upsample_fraction == 0:
            return cls.static(base, learning_rate)
        phases = (
            Phase(name="base", fraction=1 - upsample_fraction, mixture=Mixture(base)),
            Phase(name="ending", fraction=upsample_fraction, mixture=Mixture(ending)),
        )
        return cls(phases=phases, learning_rate=learning_rate)

    def _repr_html_(self) -> str:
        return as_html(self)

    @property
    def domains(self) -> tuple[str, ...]:
        """Every domain named by some phase, in order of appearance."""
        return tuple(dict.fromkeys(name for p in self.phases for name in p.mixture))

    @property
    def base(self) -> Mixture:
        """The mixture of the first phase."""
        return self.phases[0].mixture

    @property
    def ending(self) -> Mixture:
        """The mixture of the last phase (the base mixture where there is one phase)."""
        return self.phases[-1].mixture

    @property
    def upsample_fraction(self) -> float:
        """Share of training tokens in the last phase; 0 where there is one phase."""
        return self.phases[-1].fraction if len(self.phases) > 1 else 0.0

    def with_last(self, **changes: Any) -> Schedule:
        """The same schedule with another mixture or rule in its last phase."""
        last = self.phases[-1].model_copy(update=changes)
        return self.model_copy(update={"phases": (*self.phases[:-1], last)})

    def upsampling_ratio(self) -> dict[str, float]:
        """Per domain, its weight in the last phase over its weight in the base phase.

        Infinite for a domain that only the last phase has; 1 for one that neither has.
        """
        ratio: dict[str, float] = {}
        for name in self.domains:
            low, high = self.base.get(name, 0.0), self.ending.get(name, 0.0)
            ratio[name] = high / low if low > 0 else (float("inf") if high > 0 else 1.0)
        return ratio

    def exposure(self) -> Mixture:
        """Share of the whole run's tokens per domain: the exposure-matched static mixture."""
        total = dict.fromkeys(self.domains, 0.0)
        for phase in self.phases:
            for name, weight in phase.mixture.items():
                total[name] += phase.fraction * weight
        return Mixture.normalized(total)

    def phase_units(self, total: int) -> list[int]:
        """Split ``total`` units (tokens, sequences, steps) over the phases, exactly."""
        return [
            int(n) for n in largest_remainder(np.array([p.fraction for p in self.phases]), total)
        ]

    def tokens(self, total: int) -> list[dict[str, int]]:
        """Tokens per phase and domain for a run of ``total`` tokens; they sum to ``total``."""
        out = []
        for phase, units in zip(self.phases, self.phase_units(total), strict=True):
            counts = largest_remainder(np.array(list(phase.mixture.values())), units)
            out.append({n: int(c) for n, c in zip(phase.mixture, counts, strict=True)})
        return out

    def epochs(self, total: int, available: Mapping[str, int | None]) -> dict[str, float]:
        """Per domain, tokens drawn over the whole run divided by the tokens available.

        Domains whose supply is unknown are left out.
        """
        drawn = dict.fromkeys(self.domains, 0)
        for phase in self.tokens(total):
            for name, count in phase.items():
                drawn[name] += count
        supply = {name: available.get(name) for name in drawn}
        return {name: drawn[name] / have for name, have in supply.items() if have}

    def rate_factor(self, progress: float) -> tuple[float, float | None]:
        """Learning rate at a point of the run, ``progress`` from 0 to 1.

        Returns:
            The factor on the peak, and the peak itself where a rule names one.
        """
        start = 0.0
        for phase in self.phases:
            end = start + phase.fraction
            if progress < end or phase is self.phases[-1]:
                if phase.learning_rate is not None:
                    within = min(max((progress - start) / phase.fraction, 0.0), 1.0)
                    return phase.learning_rate.factor(within), phase.learning_rate.peak
                break
            start = end
        rule = self.learning_rate or LearningRate()
        return rule.factor(progress), rule.peak
