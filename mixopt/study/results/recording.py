"""What a study is told: a trial's results and finished runs from elsewhere, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mixopt.errors import StudyError
from mixopt.space import Fidelity, Kind, Objective, Observation, Schedule, Trial, geometry_of
from mixopt.space.complaints import shown
from mixopt.study.config import StudyConfig, named
from mixopt.study.storage import State

#: Share of its tokens after which a run counts as whole. A trainer that rounds down to whole steps
#: ends a little below them.
WHOLE = 0.98

Told = Mapping[str, float] | Sequence[Observation]
#: A finished run from elsewhere as a trial of the study with its observations.
Attachment = tuple[Trial, list[Observation]]


def told_rows(trial: Trial, values: Told, tokens: int | None) -> list[Observation]:
    """What a trial was told, as finite observations of its own.

    Args:
        trial: Being told.
        values: Value per metric, or observations.
        tokens: Training tokens seen, for a mapping; None for the whole run.

    Raises:
        StudyError: If a value is not finite, an observation is another trial's, or lies beyond the
            trial's tokens.
    """
    if not isinstance(values, Mapping | Sequence) or isinstance(values, str):
        raise StudyError(
            f"trial {trial.id!r} must be told a value per metric; got {shown(values)}",
            "write tell(trial.id, {'web': 3.21}); a run without results is told with fail()",
        )
    if isinstance(values, Mapping):
        at = trial.fidelity.tokens if tokens is None else tokens
        rows = [
            Observation(
                trial=trial.id,
                tokens=at,
                metric=m,
                value=metric_value(m, v, trial),
                split=trial.split,
            )
            for m, v in values.items()
        ]
    else:
        rows = list(values)
    for row in rows:
        if not isinstance(row, Observation):
            raise StudyError(
                f"trial {trial.id!r} must be told observations; got {shown(row)}",
                "write tell(trial.id, {'web': 3.21}) for the end of the run",
            )
        if row.trial != trial.id:
            raise StudyError(
                f"trial {trial.id!r} was told observations of trial {row.trial!r}",
                "tell each trial its own",
            )
        require_finite_value(trial.id, row.metric, row.value)
    return rows


def require_finite_value(trial: str, metric: str, value: float) -> None:
    """Refuse a value that no surrogate could learn from.

    Raises:
        StudyError: Naming the metric and the trial.
    """
    if not math.isfinite(value):
        raise StudyError(
            f"the metric {metric!r} of trial {trial!r} must be finite; got {value!r}",
            "a run that diverged is told with fail(trial, reason)",
        )


def metric_value(metric: str, value: Any, trial: Trial) -> float:
    """What was measured, as a number.

    Raises:
        StudyError: If it is none; true and false are none.
    """
    wrong = StudyError(
        f"the metric {metric!r} of trial {trial.id!r} must be a number; got {shown(value)}",
        "leave out what is not a metric",
    )
    if isinstance(value, bool):
        raise wrong
    try:
        return float(value)
    except (TypeError, ValueError):
        raise wrong from None


def end_of(objective: Objective, trial: Trial, rows: Sequence[Observation]) -> State:
    """How a trial with these rungs ends: finished, or early where its last rung is not its end.

    Args:
        objective: Names the metrics that the last rung must have.
        trial: Being ended.
        rows: All its observations.

    Raises:
        StudyError: If a metric of the objective is missing at the last rung.
    """
    own = [r for r in rows if r.split == trial.split]
    last = max((r.tokens for r in own), default=0)
    seen = {r.metric for r in own if r.tokens == last}
    missing = [name for name in objective.metrics if name not in seen]
    if missing:
        raise StudyError(
            f"trial {trial.id!r} needs the metrics {missing} at its last rung; it has "
            f"{sorted(seen)}",
            "the trainer must report every metric of the objective and its guardrails",
        )
    whole = math.floor(WHOLE * trial.fidelity.tokens)
    return State.finished if last >= whole else State.ended_early


def attachment(
    config: StudyConfig,
    schedule: Schedule | Mapping[str, float],
    metrics: Mapping[str, float],
    fidelity: Fidelity | None,
    trial: str,
) -> Attachment:
    """A finished run from elsewhere as a trial; nothing is stored. See ``Study.attach``."""
    if not isinstance(schedule, Schedule):
        schedule = Schedule.static(schedule)
    geometry_of(config.space).encode(schedule)
    size = fidelity or config.fidelity
    if not config.fidelities and size != config.fidelity:
        raise StudyError(
            f"a study of one fidelity learns from runs of it alone: {named(config.fidelity)}; got "
            f"a run of {named(size)}",
            "make a study with `fidelities`, which learns how one fidelity leads to another",
        )
    new = Trial(id=trial, kind=Kind.attached, schedule=schedule, fidelity=size)
    rows = told_rows(new, metrics, None)
    end_of(config.objective, new, rows)
    return new, rows
