"""Objectives and guardrails: the metrics to improve, and those that must not get worse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mixopt.errors import SpaceError
from mixopt.space.metric import UNITS, Goal, Metric, MetricKind
from mixopt.space.model import Frozen

_LOSS = Metric()


class Guardrail(Frozen):
    """A metric that must not get worse than a bound, or than the baseline by more than a slack.

    Attributes:
        metric: The metric's name.
        bound: The highest value allowed, of a metric to maximise the lowest; None to compare with
            the baseline.
        slack: How much worse than the baseline it may be, in the metric's unit.
        confidence: The probability with which it must hold.
    """

    metric: str
    bound: float | None = None
    slack: Annotated[float, Field(ge=0)] = 0.0
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.9


class Objective(Frozen):
    """Weighted metrics to improve.

    Its value has the direction of its metrics: where all that have a weight are to be maximised it
    is their weighted sum, to be maximised too. Else it is to be minimised, and metrics to maximise
    count against it.

    Attributes:
        weights: The weight of each metric; at least 0, summing to 1.
        guardrails: The metrics that must not get worse.
        kinds: What the metrics are; a loss in nats per token where nothing is said.
        scale: Value of each metric by which its weight is divided, so that weights count relative
            changes; ``baseline`` for the baseline's values, once they are known.
    """

    weights: Annotated[dict[str, float], Field(examples=[{"web": 0.5, "code": 0.5}])]
    guardrails: tuple[Guardrail, ...] = ()
    # Left out where empty: the configuration of losses alone is what it was before kinds.
    kinds: Annotated[dict[str, Metric], Field(exclude_if=lambda value: not value)] = {}
    scale: Annotated[
        Literal["baseline"] | dict[str, Annotated[float, Field(gt=0)]] | None,
        Field(exclude_if=lambda value: value is None),
    ] = None

    @model_validator(mode="after")
    def _sums(self) -> Objective:
        if not self.weights:
            raise SpaceError("an objective needs at least one metric", "name one and its weight")
        bad = {k: v for k, v in self.weights.items() if not (np.isfinite(v) and v >= 0)}
        if bad:
            raise SpaceError(
                f"the weights of an objective must be at least 0; got {bad}",
                "leave out what does not matter; what is to be maximised is said by its goal",
            )
        total = sum(self.weights.values())
        if abs(total - 1) > 1e-6:
            raise SpaceError(
                f"the weights of an objective must sum to 1; they sum to {total:.6g}",
                "divide each weight by their sum",
            )
        unknown = sorted(
            set(self.scale if isinstance(self.scale, dict) else ()) - set(self.weights)
        )
        if unknown:
            raise SpaceError(
                f"the scale names {unknown}, which have no weight", "scale what has a weight"
            )
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that has a weight or a guardrail."""
        return tuple(dict.fromkeys([*self.weights, *(g.metric for g in self.guardrails)]))

    def kind_of(self, metric: str) -> Metric:
        """What a metric is."""
        return self.kinds.get(metric, _LOSS)

    @property
    def _weighted(self) -> list[Metric]:
        return [self.kind_of(name) for name, weight in self.weights.items() if weight > 0]

    @property
    def goal(self) -> Goal:
        """Which way its value is better."""
        return "maximize" if all(m.maximized for m in self._weighted) else "minimize"

    @property
    def sign(self) -> float:
        """1 where less is better, -1 where more is."""
        return -1.0 if self.goal == "maximize" else 1.0

    @property
    def unit(self) -> str:
        """The unit of its value, '' where it has none of its own."""
        kinds = {metric.kind for metric in self._weighted}
        plain = self.scale is None and len(kinds) == 1
        return UNITS.get(next(iter(kinds)), "") if plain else ""

    @property
    def word(self) -> str:
        """What to call its value."""
        kinds = {metric.kind for metric in self._weighted}
        if self.scale is not None or len(kinds) > 1 or kinds == {MetricKind.identity}:
            return "objective"
        return next(iter(kinds)).value.replace("_", " ")

    def reweighed(self, weights: Mapping[str, float]) -> Objective:
        """The same metrics with other weights; a scale of metrics that have none now is dropped.

        Raises:
            SpaceError: If the weights are negative or do not sum to 1.
        """
        scale = self.scale
        if isinstance(scale, dict):
            scale = {name: unit for name, unit in scale.items() if name in weights}
        rails, kinds = self.guardrails, self.kinds
        return Objective(weights=dict(weights), guardrails=rails, kinds=kinds, scale=scale)

    def require_losses(self) -> None:
        """Refuse what cannot be carried from one size and length to another.

        Raises:
            SpaceError: If a metric is no loss: no law says how it grows.
        """
        kinds = {name: self.kind_of(name).kind for name in self.metrics}
        plain = (MetricKind.loss, MetricKind.bits_per_byte)
        other = next((name for name, kind in kinds.items() if kind not in plain), None)
        if other is not None:
            raise SpaceError(
                f"losses alone are carried to another size or length; {other} is of kind "
                f"{kinds[other].value}",
                "use runs of one size and length, or name the losses that go with it",
            )

    def scaled_by(self, baseline: Mapping[str, float]) -> Objective:
        """The same with ``scale: baseline`` as numbers.

        Raises:
            SpaceError: If a baseline's value is 0, which nothing can be relative to.
        """
        if self.scale != "baseline":
            return self
        found = {name: abs(float(baseline[name])) for name, w in self.weights.items() if w > 0}
        zero = [name for name, value in found.items() if value == 0]
        if zero:
            raise SpaceError(
                f"the baseline's {zero[0]} is 0, so no change of it is relative to it",
                "give its scale as a number",
            )
        return self.model_copy(update={"scale": found})

    def kept(self, values: Mapping[str, float], baseline: Mapping[str, float] | None) -> bool:
        """Whether measured values keep the guardrails; none is kept that lacks its baseline."""
        return all(self._keeps(rail, values, baseline) for rail in self.guardrails)

    def _keeps(
        self, rail: Guardrail, values: Mapping[str, float], baseline: Mapping[str, float] | None
    ) -> bool:
        worse = self.kind_of(rail.metric).sign
        if rail.bound is not None:
            return worse * (values[rail.metric] - rail.bound) <= 0
        if baseline is None:
            return False
        return worse * (values[rail.metric] - baseline[rail.metric]) <= rail.slack

    def _coefficient(self, metric: str) -> float:
        unit = self.scale.get(metric, 1.0) if isinstance(self.scale, dict) else 1.0
        return self.sign * self.kind_of(metric).sign * self.weights[metric] / unit

    def coefficients(self, metrics: list[str]) -> NDArray[np.float64]:
        """Factors ``m`` of the metrics in its value, in their order; 0 for the others."""
        return np.array([self._coefficient(n) if n in self.weights else 0.0 for n in metrics])

    def value(self, metrics: Mapping[str, float]) -> float:
        """The objective of one trial, in its own direction.

        Raises:
            SpaceError: If a metric it needs was not measured.
        """
        missing = [name for name in self.weights if name not in metrics]
        if missing:
            raise SpaceError(
                f"the objective needs the metrics {missing}, which were not measured",
                f"measured were {sorted(metrics)}",
            )
        return float(sum(self._coefficient(name) * metrics[name] for name in self.weights))
