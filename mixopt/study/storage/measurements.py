"""What was measured on trials: stored once, never changed, read at the last rung."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, func, insert, select

from mixopt.errors import ConflictError
from mixopt.space import Observation, Split, Trial
from mixopt.study.storage.leases import Lease, fence
from mixopt.study.storage.rows import (
    ENDED,
    ITS_OBSERVATIONS,
    State,
    close_trial,
    named,
    trial_of,
)
from mixopt.study.storage.schema import observation_table as observations
from mixopt.study.storage.schema import trial_table as trials

#: How a trial ends; None for one that goes on.
End = TypeVar("End", bound=State | None)
#: From a trial and what is stored of it: what to add, and how it ends.
Telling = Callable[[Trial, Sequence[Observation]], tuple[Sequence[Observation], End]]
#: The text on which trials of a search are measured, at rungs as at their ends.
_RUNGS = Split.validation.value


_OBSERVED = select(*(observations.c[name] for name in Observation.model_fields))
_OF_TRIAL = _OBSERVED.where(ITS_OBSERVATIONS).order_by(observations.c.tokens, observations.c.metric)
_ADDED = insert(observations)


def tell(c: Connection, row: Row[Any], telling: Telling[End], lease: Lease | str | None) -> End:
    """Store rungs of a trial, and its end; see ``Storage.tell``. Its row must be locked."""
    stored = all_observations(c, row.study_id, row.id)
    values, end = telling(trial_of(row.spec), stored)
    if row.state == State.failed.value:
        raise ConflictError(
            f"trial {row.id!r} is stored as failed ({row.reason}) and takes no values",
            "call requeue first if it is to be run again",
        )
    ended = row.state in ENDED
    if not ended:
        fence(c, row, lease)
    elif end is not None and end != row.state:
        raise ConflictError(
            f"trial {row.id!r} was told as {end}, but it is stored as {row.state}",
            "results are never overwritten; attach a repeated run as a trial of its own",
        )
    insert_observations(c, row.study_id, _unstored(row, stored, values, ended))
    if end is not None and not ended:
        close_trial(c, row, end)
    return end


def _unstored(
    row: Row[Any], stored: Sequence[Observation], values: Sequence[Observation], ended: bool
) -> list[Observation]:
    """The values not stored yet; those that are must be the same to the last bit."""
    there = {(o.tokens, o.metric, o.split): o.value for o in stored}
    new = []
    for v in values:
        place = (v.tokens, v.metric, v.split)
        known = there.get(place)
        if known is None and not ended:
            there[place] = v.value
            new.append(v)
        elif known != v.value:
            was = f"it is {row.state} without it" if known is None else f"stored is {known!r}"
            raise ConflictError(
                f"trial {row.id!r} was told {v.metric} = {v.value!r} at {v.tokens:,} tokens, but "
                f"{was}",
                "results are never overwritten; attach a repeated run as a trial of its own",
            )
    return new


def require_same_run(
    c: Connection, row: Row[Any], trial: Trial, values: Sequence[Observation]
) -> None:
    """Refuse a run whose id another run has.

    Raises:
        StudyError: Naming what differs, stored and given.
    """
    stored = Trial.model_validate_json(row.spec)
    for field in Trial.model_fields:
        was, given = getattr(stored, field), getattr(trial, field)
        if was != given:
            raise ConflictError(
                f"the id {trial.id!r} belongs to another run: its {field} is {was}, not {given}",
                "leave the id out to attach the run under the next free one",
            )
    _unstored(row, all_observations(c, row.study_id, row.id), values, ended=True)


def insert_observations(c: Connection, study: int, values: Sequence[Observation]) -> None:
    """Add observations that are not stored yet."""
    rows = [{"study_id": study, **v.model_dump(mode="json")} for v in values]
    if rows:
        c.execute(_ADDED, rows)


def all_observations(c: Connection, study: int, trial: str | None) -> list[Observation]:
    """Observations in the order of trials, tokens and metrics."""
    o = observations.c
    if trial is not None:
        found = c.execute(_OF_TRIAL, named(study, trial))
    else:
        query = _OBSERVED.join(trials).where(o.study_id == study)
        found = c.execute(query.order_by(trials.c.position, o.tokens, o.metric))
    return [Observation.model_validate(dict(row)) for row in found.mappings()]


def last_values(c: Connection, study: int) -> dict[tuple[str, Split], dict[str, float]]:
    """Per trial and split, each metric after the most tokens."""
    found: dict[tuple[str, Split], dict[str, float]] = {}
    for row in c.execute(_last_rungs(study)):
        found.setdefault((row.trial, Split(row.split)), {})[row.metric] = row.value
    return found


def _last_rungs(study: int) -> Select[Any]:
    o = observations.c
    newest = func.row_number().over(
        partition_by=(o.trial, o.split, o.metric), order_by=o.tokens.desc()
    )
    ranked = (
        select(o.trial, o.split, o.metric, o.value, newest.label("rank"))
        .where(o.study_id == study)
        .subquery()
    )
    r = ranked.c
    return (
        select(r.trial, r.split, r.metric, r.value)
        .join(trials, (trials.c.study_id == study) & (trials.c.id == r.trial))
        .where(r.rank == 1)
        .order_by(trials.c.position, r.split, r.metric)
    )


def rungs(
    c: Connection, study: int, tokens: int | None = None
) -> dict[int, dict[str, dict[str, float]]]:
    """Metrics on the validation text per tokens and trial.

    Args:
        c: Reads.
        study: Its number.
        tokens: Of the one rung wanted; None for every rung at which a trial ended early.
    """
    o, t = observations.c, trials.c
    early = (
        select(func.max(o.tokens))
        .join(trials)
        .where(o.study_id == study, o.split == _RUNGS, t.state == State.ended_early.value)
        .group_by(o.trial)
    )
    query = select(o.tokens, o.trial, o.metric, o.value).where(
        o.study_id == study,
        o.split == _RUNGS,
        o.tokens.in_(early) if tokens is None else o.tokens == tokens,
    )
    found: dict[int, dict[str, dict[str, float]]] = {}
    for row in c.execute(query):
        found.setdefault(row.tokens, {}).setdefault(row.trial, {})[row.metric] = row.value
    return found
