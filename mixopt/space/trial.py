"""Trials, observations and the one interface every trainer answers to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Protocol

from pydantic import Field

from mixopt.space.model import Frozen
from mixopt.space.schedule import Fidelity, Schedule


class Split(StrEnum):
    """Which held-out documents a metric was measured on."""

    validation = "validation"
    confirmation = "confirmation"


class Kind(StrEnum):
    """Why a trial is run."""

    initial = "initial"
    proposed = "proposed"
    attached = "attached"
    confirmation = "confirmation"
    comparison = "comparison"


class Trial(Frozen):
    """A schedule at a fidelity with a seed: one training run.

    Attributes:
        id: Unique in its study and the same on every replay, ``r02-t05`` say.
        round: The round it was proposed in, from 0.
        kind: Why it is run.
        schedule: What it is trained on.
        fidelity: How large and how long.
        seed: Of initialisation and data order.
        label: Of a confirmation run: ``recommendation``, ``baseline``, ``uniform``, ``static``.
        split: The held-out documents its metrics are measured on.
    """

    id: str
    round: Annotated[int, Field(ge=0)] = 0
    kind: Kind = Kind.proposed
    schedule: Schedule
    fidelity: Fidelity
    seed: Annotated[int, Field(ge=0)] = 0
    label: str = ""
    split: Split = Split.validation


class Observation(Frozen):
    """One number measured on a trial.

    Attributes:
        trial: The trial's id.
        tokens: Training tokens seen when it was measured.
        metric: Its name.
        value: Nats per token, unless the metric is something else.
        split: The held-out documents it was measured on.
    """

    trial: str
    tokens: Annotated[int, Field(ge=0)]
    metric: str
    value: float
    split: Split = Split.validation


Report = Callable[[Sequence[Observation]], None]


class Trainer(Protocol):
    """Whatever turns a trial into observations: the proxy, or the user's own trainer."""

    def run(self, trial: Trial, report: Report) -> None:
        """Train, and report the observations of each rung as soon as it is reached.

        Raises:
            TrialError: If the run failed; the message is kept as the trial's reason.
        """
