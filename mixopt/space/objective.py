"""Objectives and guardrails: the metrics to minimise, and those that must not get worse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mixopt.errors import SpaceError
from mixopt.space.model import Frozen


class Guardrail(Frozen):
    """A metric that must not rise above a bound, or above the baseline plus a slack.

    Attributes:
        metric: The metric's name.
        bound: The highest value allowed; None to compare with the baseline.
        slack: The allowed rise over the baseline's value, in the metric's unit.
        confidence: The probability with which it must hold.
    """

    metric: str
    bound: float | None = None
    slack: Annotated[float, Field(ge=0)] = 0.0
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.9


class Objective(Frozen):
    """Weighted metrics to minimise.

    Attributes:
        weights: The weight of each metric; at least 0, summing to 1.
        guardrails: The metrics that must not get worse.
    """

    weights: Annotated[dict[str, float], Field(examples=[{"web": 0.5, "code": 0.5}])]
    guardrails: tuple[Guardrail, ...] = ()

    @model_validator(mode="after")
    def _sums(self) -> Objective:
        if not self.weights:
            raise SpaceError("an objective needs at least one metric", "name one and its weight")
        bad = {k: v for k, v in self.weights.items() if not (np.isfinite(v) and v >= 0)}
        if bad:
            raise SpaceError(
                f"the weights of an objective must be at least 0; got {bad}",
                "metrics are minimised; leave out what does not matter",
            )
        total = sum(self.weights.values())
        if abs(total - 1) > 1e-6:
            raise SpaceError(
                f"the weights of an objective must sum to 1; they sum to {total:.6g}",
                "divide each weight by their sum",
            )
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that has a weight or a guardrail."""
        return tuple(dict.fromkeys([*self.weights, *(g.metric for g in self.guardrails)]))

    def coefficients(self, metrics: list[str]) -> NDArray[np.float64]:
        """Weights ``m`` in the order of the metrics; 0 for the others."""
        return np.array([self.weights.get(name, 0.0) for name in metrics])

    def value(self, metrics: Mapping[str, float]) -> float:
        """The objective of one trial.

        Raises:
            SpaceError: If a metric it needs was not measured.
        """
        missing = [name for name in self.weights if name not in metrics]
        if missing:
            raise SpaceError(
                f"the objective needs the metrics {missing}, which were not measured",
                f"measured were {sorted(metrics)}",
            )
        return float(sum(weight * metrics[name] for name, weight in self.weights.items()))
