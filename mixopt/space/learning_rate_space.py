"""Learning rates that are searched: ranges or levels of a rule's peak and warm-up.

A coordinate runs from 0 to 1: the logarithm of the peak, or the warm-up's share as it is, between
the least and the greatest allowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from mixopt.errors import SpaceError
from mixopt.space.learning_rate import LearningRate, Shape
from mixopt.space.model import Frozen

Array = NDArray[np.float64]

#: Significant digits of a decoded rate, so that one that was written and read back is the same.
DIGITS = 8

Name = Literal["peak", "warmup"]


class RateRange(Frozen):
    """A number to be searched.

    Attributes:
        min: The least value.
        max: The greatest value.
        usual: The baseline's value, which the team would use without mixopt; None for the middle
            (of the logarithm, for a peak).
    """

    min: Annotated[float, Field(ge=0, examples=[1e-4])]
    max: Annotated[float, Field(gt=0, examples=[2e-3])]
    usual: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> RateRange:
        usual = self.min if self.usual is None else self.usual
        if not self.min < self.max or not self.min <= usual <= self.max:
            raise SpaceError(
                f"a searched number needs min < max with the usual value between them; got min "
                f"{self.min:g}, max {self.max:g}, usual {self.usual}",
                "write {min: 1e-4, max: 2e-3}",
            )
        return self


Levels = Annotated[tuple[float, ...], Field(min_length=2)]


class LearningRateSpace(Frozen):
    """A learning-rate rule whose peak or warm-up is searched; otherwise as ``LearningRate``.

    Attributes:
        peak: A number, a range (searched on the log scale) or levels; None for the trainer's own.
        warmup: A share, a range of shares or levels.
        start: The factor at the beginning of the warm-up.
        decay: The share spent falling; ``rest`` for all that the warm-up leaves.
        shape: The shape of the fall.
        final: The factor at the end.
    """

    peak: RateRange | Levels | Annotated[float, Field(gt=0)] | None = None
    warmup: RateRange | Levels | Annotated[float, Field(ge=0, le=1)] = 0.0
    start: Annotated[float, Field(ge=0, le=1)] = 0.0
    decay: Annotated[float, Field(ge=0, le=1)] | Literal["rest"] = 0.0
    shape: Shape = "linear"
    final: Annotated[float, Field(ge=0, le=1)] = 0.0

    @field_validator("peak", "warmup")
    @classmethod
    def _rising(cls, value: Any) -> Any:
        if isinstance(value, tuple) and list(value) != sorted(set(value)):
            raise SpaceError(f"levels must rise and not repeat; got {list(value)}", "sort them")
        return value

    @model_validator(mode="after")
    def _possible(self) -> LearningRateSpace:
        peak, warmup = self._ends("peak"), self._ends("warmup")
        if peak is not None and peak[0] <= 0:
            raise SpaceError(
                f"a searched peak must be positive, since it is searched on the log scale; its "
                f"least is {peak[0]:g}",
                "write peak: {min: 1e-4, max: 2e-3}",
            )
        decay = 0.0 if self.decay == "rest" else float(self.decay)
        if warmup is not None and not 0 <= warmup[0] <= warmup[1] <= 1 - decay + 1e-9:
            raise SpaceError(
                f"every warm-up must leave room for the decay; got warm-ups of {warmup[0]:g} to "
                f"{warmup[1]:g} and a decay of {decay:g}",
                "write decay: rest, so that the rate falls from the end of the warm-up",
            )
        return self

    def _ends(self, name: Name) -> tuple[float, float] | None:
        value = getattr(self, name)
        if isinstance(value, RateRange):
            return value.min, value.max
        if isinstance(value, tuple):
            return value[0], value[-1]
        return None if value is None else (value, value)

    def axes(self, phase: int) -> Iterator[RateAxis]:
        """The coordinates it adds to a design row, as the rule of a phase (-1 for the run)."""
        names: tuple[Name, ...] = ("peak", "warmup")
        for name in names:
            value = getattr(self, name)
            if isinstance(value, RateRange):
                yield RateAxis(phase, name, value.min, value.max, value.usual)
            elif isinstance(value, tuple):
                yield RateAxis(phase, name, value[0], value[-1], None, value)

    def rule(self, chosen: dict[str, float]) -> LearningRate:
        """The rule with its searched numbers chosen."""
        given: dict[str, Any] = {"peak": self.peak, "warmup": self.warmup, **chosen}
        decay = 1 - given["warmup"] if self.decay == "rest" else self.decay
        return LearningRate(
            **given, start=self.start, decay=decay, shape=self.shape, final=self.final
        )


@dataclass(frozen=True)
class RateAxis:
    """One searched number of a learning-rate rule.

    Args:
        phase: The index of the phase that has the rule; -1 for the run.
        name: The number's name: ``peak`` or ``warmup``.
        low: The least value.
        high: The greatest value.
        given: The usual value, where it is given.
        levels: The allowed values; empty where all between are allowed.
    """

    phase: int
    name: Name
    low: float
    high: float
    given: float | None = None
    levels: tuple[float, ...] = ()

    def place(self, value: float) -> float:
        """The coordinate of a value: 0 at the least, 1 at the greatest."""
        if self.name == "peak":
            return float(np.log(value / self.low) / np.log(self.high / self.low))
        return (value - self.low) / (self.high - self.low)

    def value(self, place: float) -> float:
        """The value at a coordinate; the nearest level, where there are levels."""
        place = min(max(place, 0.0), 1.0)
        if self.levels:
            return min(self.levels, key=lambda v: abs(self.place(v) - place))
        if self.name == "peak":
            found = self.low * (self.high / self.low) ** place
        else:
            found = self.low + (self.high - self.low) * place
        return float(f"{found:.{DIGITS}g}")

    @property
    def usual(self) -> float:
        """The baseline's value."""
        return self.value(0.5) if self.given is None else self.given

    def snapped(self, places: Array) -> Array:
        """Coordinates ``n`` cut to the range, and moved to the nearest level where there are."""
        inside = np.clip(places, 0.0, 1.0)
        if not self.levels:
            return np.asarray(inside)
        levels = np.array([self.place(v) for v in self.levels])
        return np.asarray(levels[np.abs(inside[:, None] - levels).argmin(1)])

    def read(self, rule: LearningRate | None) -> float:
        """The coordinate of a rule; the usual one's where the rule does not say."""
        value = None if rule is None else getattr(rule, self.name)
        return self.place(self.usual if value is None else value)


def usual_rule(given: LearningRate | LearningRateSpace | None) -> LearningRate | None:
    """A rule with the usual value of every searched number."""
    if not isinstance(given, LearningRateSpace):
        return given
    return given.rule({axis.name: axis.usual for axis in given.axes(-1)})


def _kind(value: Any) -> str:
    """The kind of a rule as written: ``search`` where it has a range or levels."""
    if isinstance(value, LearningRateSpace):
        return "search"
    if isinstance(value, dict):
        numbers = [value.get("peak"), value.get("warmup")]
        return "search" if any(isinstance(v, (dict, list, tuple)) for v in numbers) else "rule"
    return "rule"


#: A rule, or one with numbers to search.
SearchableRate = Annotated[
    Annotated[LearningRate, Tag("rule")] | Annotated[LearningRateSpace, Tag("search")],
    Discriminator(_kind),
]
