"""Learning-rate rules: how the rate rises, holds and falls over a stretch of training."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from mixopt.errors import SpaceError
from mixopt.space.model import Frozen

Shape = Literal["linear", "cosine", "sqrt", "inverse_sqrt"]


class LearningRate(Frozen):
    """A learning-rate rule for one phase or one whole run.

    The rate is ``peak`` times a factor that rises linearly over the first ``warmup`` share of a
    stretch, holds, and falls over its last ``decay`` share to ``final``
    (warm-up-stable-decay). With ``decay = 1 - warmup`` it is the ordinary cosine or linear rule.

    Attributes:
        peak: The learning rate at the plateau; None for the trainer's own.
        warmup: The share of the stretch's tokens spent rising, from ``start`` to 1.
        start: The factor at the beginning of the warm-up.
        decay: The share of the stretch's tokens spent falling.
        shape: The form of the fall: ``linear``, ``cosine``, ``sqrt`` (1 - sqrt) or
            ``inverse_sqrt``.
        final: The factor at the end of the stretch.
    """

    peak: Annotated[float, Field(gt=0, examples=[3e-4])] | None = None
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.0
    start: Annotated[float, Field(ge=0, le=1)] = 0.0
    decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    shape: Shape = "linear"
    final: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _fits(self) -> LearningRate:
        if self.warmup + self.decay > 1 + 1e-9:
            raise SpaceError(
                f"warmup and decay are shares of one stretch and must not sum to more than 1; "
                f"got {self.warmup:g} + {self.decay:g}",
                "shorten one of them",
            )
        return self

    def factor(self, progress: float) -> float:
        """The rate over ``peak`` at a point of the stretch, ``progress`` from 0 to 1."""
        if progress < self.warmup:
            return self.start + (1 - self.start) * progress / self.warmup
        if self.decay == 0 or progress <= 1 - self.decay:
            return 1.0
        through = min((progress - (1 - self.decay)) / self.decay, 1.0)
        return self.final + (1 - self.final) * self._falling(through)

    def _falling(self, through: float) -> float:
        if self.shape == "linear":
            return 1 - through
        if self.shape == "cosine":
            return float(0.5 * (1 + np.cos(np.pi * through)))
        if self.shape == "sqrt":
            return float(1 - np.sqrt(through))
        # 1/sqrt(1 + 99t), shifted and scaled so that it runs from 1 to 0 like the others.
        return float((1 / np.sqrt(1 + 99 * through) - 0.1) / 0.9)
