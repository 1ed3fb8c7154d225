"""A schedule with what is known of its run, from ``schedule.json`` or written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from mixopt.errors import SpaceError
from mixopt.export.export_plan import Provenance
from mixopt.export.importing import read_yaml
from mixopt.export.rate_plan import TrialRate
from mixopt.export.schedule_file import read_schedule_file
from mixopt.space import (
    Fidelity,
    Frozen,
    LearningRate,
    Mixture,
    Phase,
    Schedule,
    SearchSpace,
    validate_yaml,
)

Tokens = Annotated[int, Field(gt=0)]


@dataclass(frozen=True)
class ScheduleSource:
    """What an export starts from.

    Attributes:
        schedule: The schedule.
        space: Its search space, where it comes from a study.
        tokens: Training tokens of its run.
        sequence_length: Tokens per sequence, where known of the target.
        seed: For the trainer's shuffling.
        paths: Domain to path.
        supply: Domain to tokens available.
        target: The fidelity it was chosen for.
        provenance: Where it comes from.
        of_trials: Numbers of its learning rates that are the trials'.
    """

    schedule: Schedule
    space: SearchSpace | None = None
    tokens: int | None = None
    sequence_length: int | None = None
    seed: int = 0
    paths: Mapping[str, str] = field(default_factory=dict)
    supply: Mapping[str, int | None] = field(default_factory=dict)
    target: Fidelity | None = None
    provenance: Provenance | None = None
    of_trials: tuple[TrialRate, ...] = ()


class HandPhase(Frozen):
    """One phase written by hand.

    Attributes:
        name: Its name; ``phase1``, ``phase2`` by default.
        fraction: Its share of the run's tokens; or
        tokens: its training tokens.
        mixture: The weights, of any sum that is not 0.
        learning_rate: Its own rule.
    """

    name: str | None = None
    fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    tokens: Tokens | None = None
    mixture: dict[str, Annotated[float, Field(ge=0)]]
    learning_rate: LearningRate | None = None


class HandSchedule(Frozen):
    """A schedule written by hand.

    Attributes:
        phases: In order; all with ``tokens``, or all with ``fraction``.
        tokens: Training tokens of the run, where the phases give fractions.
        learning_rate: The rule over the run.
        supply: Domain to tokens available.
        paths: Domain to path.
    """

    phases: Annotated[tuple[HandPhase, ...], Field(min_length=1)]
    tokens: Tokens | None = None
    learning_rate: LearningRate | None = None
    supply: dict[str, Tokens] = {}
    paths: dict[str, str] = {}

    @model_validator(mode="after")
    def _measured_alike(self) -> HandSchedule:
        counted = [p.tokens is not None for p in self.phases]
        if len(set(counted)) > 1 or any(p.tokens and p.fraction for p in self.phases):
            raise SpaceError(
                "either every phase must give `tokens`, or none; a phase with tokens needs no "
                "`fraction`",
                "write phases: [{tokens: 800_000_000, mixture: {web: 0.7, code: 0.3}}, ...]",
            )
        return self

    def source(self) -> ScheduleSource:
        """The schedule and its tokens."""
        counts = [p.tokens for p in self.phases if p.tokens is not None]
        total = sum(counts) if counts else self.tokens
        phases = tuple(
            Phase(
                name=p.name or f"phase{i}",
                fraction=p.tokens / sum(counts) if p.tokens else p.fraction or 1.0,
                mixture=Mixture.normalized(p.mixture, f"phase {i}"),
                learning_rate=p.learning_rate,
            )
            for i, p in enumerate(self.phases, 1)
        )
        return ScheduleSource(
            Schedule(phases=phases, learning_rate=self.learning_rate),
            tokens=total,
            supply=self.supply,
            paths=self.paths,
        )


def read_source(path: str | Path) -> ScheduleSource:
    """Read a ``schedule.json``, a bare schedule, or phases and tokens written by hand.

    Raises:
        SpaceError: If a schedule written by hand is wrong; names the line.
        ExportError: If it is none of them.
    """
    data: Any = read_yaml(Path(path))
    if isinstance(data, dict) and "format" not in data and "phases" in data:
        return validate_yaml(HandSchedule, path).source()
    file = read_schedule_file(path)
    return ScheduleSource(
        file.schedule(),
        tokens=file.tokens_requested,
        sequence_length=file.sequence_length if file.sequence_length > 1 else None,
        paths={name: d.path for name, d in file.domains.items() if d.path},
        supply={name: d.available for name, d in file.domains.items()},
        target=file.target,
        provenance=file.as_provenance(),
        of_trials=file.of_trials,
    )
