"""What a study is told: a trial's results and finished runs from elsewhere, checked and stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mixopt.errors import StudyError
from mixopt.space import Fidelity, Kind, Observation, Schedule, Trial, geometry_of
from mixopt.study.results.validation import checked, mapped, require_metrics

if TYPE_CHECKING:
    from mixopt.study.study import Study

Told = Mapping[str, float] | Sequence[Observation]


def told_rows(study: Study, trial: str, values: Told, tokens: int | None) -> list[Observation]:
    """What a trial was told, as finite observations of its own.

    Args:
        study: Knows the trial.
        trial: Its id.
        values: Value per metric, or observations.
        tokens: Training tokens seen, for a mapping; None for the whole run.

    Raises:
        StudyError: If the trial is unknown, a value is not finite, or an observation is another's.
    """
    if isinstance(values, Mapping):
        known = study.record_of(trial).trial
        at = known.fidelity.tokens if tokens is None else tokens
        return checked(mapped(known, values, at))
    wrong = [v.trial for v in values if v.trial != trial]
    if wrong:
        raise StudyError(
            f"trial {trial!r} was told observations of trial {wrong[0]!r}",
            "tell each trial its own",
        )
    return checked(list(values))


def require_last_metrics(study: Study, trial: str, new: Sequence[Observation]) -> None:
    """Refuse the end of a trial whose last rung, with what is new, lacks a metric.

    Raises:
        StudyError: Naming what is missing.
    """
    split = study.record_of(trial).trial.split
    rows = [*study.store.observations(study.id, trial), *new]
    rows = [r for r in rows if r.split == split]
    last = max((r.tokens for r in rows), default=0)
    require_metrics(study.objective, trial, {r.metric for r in rows if r.tokens == last})


def attach_run(
    study: Study,
    schedule: Schedule | Mapping[str, float],
    metrics: Mapping[str, float],
    fidelity: Fidelity | None,
    trial: str | None,
) -> str:
    """Store a finished run from elsewhere; returns its id. See ``Study.attach``."""
    if not isinstance(schedule, Schedule):
        schedule = Schedule.static(schedule)
    geometry_of(study.space).encode(schedule)
    size = fidelity or study.fidelity
    new = Trial(id=trial or "", kind=Kind.attached, schedule=schedule, fidelity=size)
    rows = checked(mapped(new, metrics, size.tokens))
    require_metrics(study.objective, trial or "attached", {r.metric for r in rows})
    if trial is None:
        return study.store.attach_next(study.id, new, rows)
    study.store.attach(study.id, new, rows)
    return trial
