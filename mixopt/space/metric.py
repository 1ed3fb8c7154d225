"""What a metric is: its kind, which way is better, and how much one measurement can say."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mixopt.errors import SpaceError
from mixopt.space.model import Frozen

Array = NDArray[np.float64]

Goal = Literal["minimize", "maximize"]


class MetricKind(StrEnum):
    """What is measured, which says how it is modelled.

    ``loss``: nats per token. ``bits_per_byte``: a loss in other units. ``perplexity``: the
    exponential of a loss. ``accuracy``: a share of right answers. ``identity``: any other number.
    """

    loss = "loss"
    bits_per_byte = "bits_per_byte"
    perplexity = "perplexity"
    accuracy = "accuracy"
    identity = "identity"


#: Kinds that mixing laws describe; the others have no law.
LOSSES = (MetricKind.loss, MetricKind.bits_per_byte, MetricKind.perplexity)
UNITS = {MetricKind.loss: "nats/token", MetricKind.bits_per_byte: "bits/byte"}


class Metric(Frozen):
    """One metric.

    Attributes:
        kind: What is measured.
        goal: Which way is better; by default an accuracy is maximised and all else minimised.
        n: Questions behind an accuracy, which say how much of it is luck; None where not known.
    """

    kind: Annotated[MetricKind, Field(examples=["accuracy"])] = MetricKind.loss
    goal: Goal | None = None
    n: Annotated[int, Field(gt=0, examples=[1319])] | None = None

    @model_validator(mode="after")
    def _agreeing(self) -> Metric:
        if self.n is not None and self.kind != MetricKind.accuracy:
            raise SpaceError(
                f"n counts the questions of an accuracy; the kind is {self.kind.value}",
                "leave n out, or write kind: accuracy",
            )
        if self.kind in LOSSES and self.goal == "maximize":
            raise SpaceError(
                f"a metric of kind {self.kind.value} is minimised; the goal is maximize",
                "leave the goal out, or write kind: accuracy or kind: identity",
            )
        return self

    @property
    def maximized(self) -> bool:
        """Whether more is better."""
        return (self.goal or "") == "maximize" or (
            self.goal is None and self.kind == MetricKind.accuracy
        )

    @property
    def sign(self) -> float:
        """1 where less is better, -1 where more is."""
        return -1.0 if self.maximized else 1.0

    def complaint(self, values: Array) -> str:
        """What is wrong with measured values, '' where nothing is."""
        low, high = float(values.min()), float(values.max())
        if self.kind == MetricKind.accuracy and (low < 0 or high > 1):
            percent = ": it looks like percent" if low >= 0 and high <= 100 else ""
            return (
                f"an accuracy must lie between 0 and 1; got {high if high > 1 else low:g}{percent}"
            )
        if self.kind == MetricKind.perplexity and low <= 0:
            return f"a perplexity must be positive; got {low:g}"
        return ""

    def nearest(self, value: float) -> float:
        """The nearest value that one of its kind can have."""
        if self.kind == MetricKind.accuracy:
            return min(max(value, 0.0), 1.0)
        return max(value, 1.0) if self.kind == MetricKind.perplexity else value
