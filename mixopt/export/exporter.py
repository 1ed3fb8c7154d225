"""The contract of an exporter: what a trainer is, and what is written for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mixopt.errors import ExportError
from mixopt.export.export_plan import ExportPlan
from mixopt.space import Mixture

#: Where phases change: inside one run, or by starting the trainer again.
PhaseChange = Literal["one run", "relaunch"]


@dataclass(frozen=True)
class Written:
    """What is written for one trainer.

    Attributes:
        files: File name to text; a script that a person runs is among them.
        rates: Per phase, its learning rate in the trainer's own words; empty where the schedule
            names none.
        commands: What to do, in order.
        on_resume: What the trainer does without a word when a run is loaded again.
        notes: Where it does something else than the schedule asks for.
    """

    files: Mapping[str, str]
    rates: tuple[Mapping[str, Any], ...] = ()
    commands: tuple[str, ...] = ()
    on_resume: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _unmoved(plan: ExportPlan) -> ExportPlan:
    return plan


@dataclass(frozen=True)
class Exporter:
    """One trainer that schedules are written for.

    Attributes:
        name: What ``--to`` takes.
        write: A plan as this trainer's files; pure.
        changes: Where phases change.
        unit: What a weight counts in this trainer.
        loaded: The library and version that loaded what is written; else where its format was read.
        aliases: Other names ``--to`` takes.
        align: A plan as this trainer can follow it: its starts moved, its quotas rounded.
        exact: Whether a phase draws its quotas and not random numbers with those means.
        batch: Whether it counts steps and needs the batch.
        length: Whether it counts sequences and needs their length.
        paths: Whether it needs the path of every domain in use.
        read: A configuration of this trainer as phases of mixtures, in order; None where that
            cannot be read.
    """

    name: str
    write: Callable[[ExportPlan], Written]
    changes: PhaseChange
    unit: str
    loaded: str
    aliases: tuple[str, ...] = ()
    align: Callable[[ExportPlan], ExportPlan] = _unmoved
    exact: bool = True
    batch: bool = True
    length: bool = True
    paths: bool = True
    read: Callable[[Path], tuple[ImportedPhase, ...]] | None = None

    def ready(self, plan: ExportPlan) -> ExportPlan:
        """The plan as this trainer can follow it.

        Raises:
            ExportError: If the plan lacks something that this trainer needs.
        """
        if self.paths and plan.missing_paths:
            raise ExportError(
                f"the {self.name} export needs the path of every domain in use; "
                f"{list(plan.missing_paths)} have none",
                "give --paths paths.yaml or NAME=PATH, add `path:` to the domains of the search "
                "space, or ask for --placeholders",
            )
        if self.length and plan.sequence_length == 1:
            raise ExportError(
                f"the {self.name} export counts sequences and needs their length; none was given",
                "give --sequence-length, the target's context in tokens",
            )
        if self.batch and plan.batch is None:
            raise ExportError(
                f"the {self.name} export counts steps and needs the batch; none was given",
                "give --batch, the target's sequences per step",
            )
        return self.align(plan)


@dataclass(frozen=True)
class ImportedPhase:
    """One phase of a trainer's configuration.

    Attributes:
        mixture: Its weights, normalised.
        length: How long it is, in any unit that all phases share; None where that is not said.
        paths: Domain to the path the configuration names.
    """

    mixture: Mixture
    length: int | None = None
    paths: Mapping[str, str] = field(default_factory=dict)
