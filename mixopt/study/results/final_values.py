"""From stored rows to what the surrogate learns from: the last rung of finished trials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mixopt.errors import StudyError
from mixopt.space import Kind, Objective, Observation, SearchSpace, Split, geometry_of
from mixopt.study.storage import State, TrialRecord

if TYPE_CHECKING:
    from mixopt.propose import Evidence

Values = dict[str, float]


def last_values(observations: Iterable[Observation], split: Split | None = None) -> Values:
    """Per metric, the value after the most tokens."""
    best: dict[str, Observation] = {}
    for o in observations:
        if split is not None and o.split != split:
            continue
        if o.metric not in best or o.tokens > best[o.metric].tokens:
            best[o.metric] = o
    return {name: o.value for name, o in best.items()}


def by_trial(observations: Iterable[Observation]) -> dict[str, list[Observation]]:
    """Observations grouped by trial."""
    groups: dict[str, list[Observation]] = {}
    for o in observations:
        groups.setdefault(o.trial, []).append(o)
    return groups


def final_values(
    records: Sequence[TrialRecord], observations: Iterable[Observation]
) -> dict[str, Values]:
    """Last-rung values of every finished trial, on the split it is measured on."""
    groups = by_trial(observations)
    return {
        r.trial.id: last_values(groups.get(r.trial.id, ()), r.trial.split)
        for r in records
        if r.state == State.finished
    }


def build_evidence(
    space: SearchSpace,
    objective: Objective,
    records: Sequence[TrialRecord],
    finals: Mapping[str, Values],
    extra: bool = False,
) -> Evidence:
    """Finished trials as arrays, in the order in which they were proposed.

    Args:
        space: Gives the columns.
        objective: Its metrics come first.
        records: Of the study.
        finals: Last-rung values per finished trial.
        extra: Whether to add the metrics that every trial has beside the objective's.

    Raises:
        StudyError: If fewer than two trials are finished.
    """
    from mixopt.propose import Evidence

    checks = (Kind.confirmation, Kind.comparison)
    used = [r.trial for r in records if r.trial.kind not in checks and r.trial.id in finals]
    if len(used) < 2:
        raise StudyError(
            f"learning from trials needs at least two finished ones; the study has {len(used)}",
            _why_none(records),
        )
    # A stored objective forgets its order, and the last digits of a fit depend on it.
    metrics = sorted(objective.metrics)
    if extra:
        shared = set.intersection(*(set(finals[t.id]) for t in used))
        metrics += sorted(shared - set(metrics))
    return Evidence(
        X=np.stack([geometry_of(space).encode(t.schedule) for t in used]),
        Y=np.array([[finals[t.id][m] for m in metrics] for t in used]),
        metrics=tuple(metrics),
        ids=tuple(t.id for t in used),
    )


def _why_none(records: Sequence[TrialRecord]) -> str:
    failed = [r for r in records if r.state == State.failed]
    if failed:
        return (
            f"{len(failed)} failed, the first because: {failed[0].reason}; mend it and call requeue"
        )
    return "run the trials that ask returned and tell their results"
