"""A mixture that somebody moves by hand, and the allowed one that is nearest to it."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, model_validator

from mixopt.errors import SpaceError
from mixopt.laws._arrays import Array
from mixopt.propose import Estimate
from mixopt.service.messages import Message
from mixopt.space import Geometry, Schedule, SearchSpace, geometry_of

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]


class WhatIf(Message):
    """Weights per phase of the space, in its order; each phase is scaled to sum to 1.

    Attributes:
        fractions: Share of the tokens per phase; the nearest that the space has is taken.
        weights: Per phase, a weight per domain in the space's order.
    """

    fractions: Annotated[tuple[Share, ...], Field(min_length=1, max_length=20)]
    weights: Annotated[
        tuple[Annotated[tuple[Weight, ...], Field(max_length=10_000)], ...],
        Field(min_length=1, max_length=20),
    ]

    @model_validator(mode="after")
    def _alike(self) -> WhatIf:
        if len(self.fractions) != len(self.weights):
            raise ValueError("there must be as many fractions as there are rows of weights")
        return self


class PredictedRow(BaseModel):
    """A metric at the schedule and at the baseline.

    Attributes:
        metric: Name of the metric, or ``objective``.
        predicted: What is expected, with its 95 % interval.
        baseline: The same of the baseline.
    """

    metric: str
    predicted: Estimate
    baseline: Estimate


class Predicted(BaseModel):
    """What the surrogate expects.

    Attributes:
        schedule: The allowed one that is nearest to the wish.
        rows: The objective, then each metric.
    """

    schedule: Schedule
    rows: list[PredictedRow]


def nearest_row(geometry: Geometry, wish: WhatIf) -> Array:
    """The design row ``D`` of the space that is nearest to a wish.

    Raises:
        SpaceError: If the wish has other phases or domains than the space.
    """
    space = geometry.space
    shape = (len(space.phases), len(space.domains))
    if (len(wish.weights), *{len(w) for w in wish.weights}) != shape:
        raise SpaceError(
            f"the weights must be {shape[0]} rows of {shape[1]} numbers, as the study has phases "
            "and domains",
            "GET /v1/studies/NAME shows them",
            "weights",
        )
    choices = geometry.fraction_choices
    fractions = min(choices, key=lambda c: float(np.abs(np.subtract(c, wish.fractions)).sum()))
    weights = np.array(wish.weights, dtype=float)
    total = weights.sum(-1, keepdims=True)
    weights = np.where(total > 0, weights / np.where(total > 0, total, 1), 1 / shape[1])
    x = geometry.polytope(fractions).project(weights.reshape(1, -1))
    return np.asarray(geometry.rows(fractions, x)[0])


def start_of(space: SearchSpace) -> list[dict[str, Any]]:
    """Per phase its name, the fractions it may have, and the baseline's weights in per cent."""
    choices = geometry_of(space).fraction_choices
    known = {p.name: p for p in space.baseline_schedule.phases}
    first = space.baseline_schedule.phases[0]
    most = max(choices, key=lambda c: c[-1] > 0)
    return [
        {
            "name": phase.name,
            "fractions": sorted({c[i] for c in choices}),
            "fraction": most[i],
            "weights": [
                (d.name, round(100 * known.get(phase.name, first).mixture.get(d.name, 0.0), 2))
                for d in space.domains
            ],
        }
        for i, phase in enumerate(space.phases)
    ]
