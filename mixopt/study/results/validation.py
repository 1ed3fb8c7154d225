"""Checking what a trial is told before it is stored."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mixopt.errors import StudyError
from mixopt.space import Objective, Observation, Trial


def mapped(trial: Trial, values: Mapping[str, float], tokens: int) -> list[Observation]:
    """One rung's values as observations on the trial's split."""
    return [
        Observation(trial=trial.id, tokens=tokens, metric=m, value=float(v), split=trial.split)
        for m, v in values.items()
    ]


def checked(values: list[Observation]) -> list[Observation]:
    """The values, all finite.

    Raises:
        StudyError: If one is not; names the metric and the trial.
    """
    for v in values:
        if not math.isfinite(v.value):
            raise StudyError(
                f"the metric {v.metric!r} of trial {v.trial!r} must be finite; got {v.value!r}",
                "a run that diverged is told with fail(trial, reason)",
            )
    return values


def require_metrics(objective: Objective, trial: str, seen: set[str]) -> None:
    """Refuse the end of a trial without a metric of the objective.

    Raises:
        StudyError: Naming what is missing.
    """
    missing = [name for name in objective.metrics if name not in seen]
    if missing:
        raise StudyError(
            f"trial {trial!r} needs the metrics {missing} at its last rung; it has {sorted(seen)}",
            "the trainer must report every metric of the objective and its guardrails",
        )
