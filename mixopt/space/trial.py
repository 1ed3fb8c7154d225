"""Trials, observations, and the protocol of a trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Protocol

from pydantic import Field

from mixopt.space.model import Frozen
from mixopt.space.schedule import Fidelity, Schedule


class Split(StrEnum):
    """The held-out documents that a metric was measured on."""

    validation = "validation"
    confirmation = "confirmation"


class Kind(StrEnum):
    """The reason for a trial."""

    initial = "initial"
    proposed = "proposed"
    attached = "attached"
    confirmation = "confirmation"
    comparison = "comparison"


class Trial(Frozen):
    """A schedule at a fidelity with a seed: one training run.

    Attributes:
        id: A name that is unique in the study and the same on every replay, such as ``r02-t05``.
        round: The round it was proposed in, from 0.
        kind: The reason for the run.
        schedule: The phases it is trained on.
        fidelity: The size of the run.
        seed: The seed of initialisation and data order.
        label: The label of a confirmation run: ``recommendation``, ``baseline``, ``uniform``,
            ``static``.
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
        tokens: The training tokens seen when it was measured.
        metric: The metric's name.
        value: The number, in nats per token unless the metric is something else.
        split: The held-out documents it was measured on.
    """

    trial: str
    tokens: Annotated[int, Field(ge=0)]
    metric: str
    value: float
    split: Split = Split.validation


Report = Callable[[Sequence[Observation]], None]


class Trainer(Protocol):
    """Turns a trial into observations: the proxy, or the user's own trainer."""

    def run(self, trial: Trial, report: Report) -> None:
        """Train, and report the observations of each rung as soon as it is reached.

        Raises:
            TrialError: If the run failed; the message is kept as the trial's reason.
        """
