"""A study's trials and observations as rows, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, insert, select, update

from mixopt.errors import NotFoundError
from mixopt.space import Kind, Trial
from mixopt.study.storage import clock
from mixopt.study.storage.schema import observation_table as observations
from mixopt.study.storage.schema import study_table as studies
from mixopt.study.storage.schema import trial_table as trials


class State(StrEnum):
    """Where a trial stands.

    Attributes:
        waiting: It was proposed, and nobody runs it.
        running: A worker runs it under a lease.
        finished: It was trained on all its tokens.
        ended_early: It was stopped before its last token; its rungs are kept.
        failed: It has no result, for a reason that is kept.
    """

    waiting = "waiting"
    running = "running"
    finished = "finished"
    ended_early = "ended_early"
    failed = "failed"


#: What the end of a lease leaves in the row of a trial; the name of its worker is kept.
NO_LEASE = {"token": None, "expires": None}

# States of trials that have results and take no others.
ENDED = (State.finished, State.ended_early)


@dataclass(frozen=True)
class TrialRecord:
    """A trial as stored.

    Attributes:
        trial: The run that was proposed.
        state: Where it stands.
        reason: Why it failed; empty otherwise.
        attempts: The number of times that it was started.
        crashes: The number of times that its worker died.
        started: Seconds since the epoch; None before its first start.
        ended: Seconds since the epoch; None while it is open.
        worker: The process that runs it, or last ran it, as ``host:pid:born``.
        expires: The end of its lease in seconds since the epoch; None unless it runs.
        position: Its place in the order of proposal, from 0.
    """

    trial: Trial
    state: State
    reason: str
    attempts: int
    crashes: int
    started: float | None
    ended: float | None
    worker: str | None = None
    expires: float | None = None
    position: int = 0

    @property
    def open(self) -> bool:
        """Whether it still has to be run to its end."""
        return self.state in (State.waiting, State.running)

    @property
    def search(self) -> bool:
        """Whether the search proposed it (not attached, not a confirmation)."""
        return self.trial.kind in (Kind.initial, Kind.proposed)

    @property
    def seconds(self) -> float | None:
        """How long its last attempt took."""
        return None if self.started is None or self.ended is None else self.ended - self.started


# Statements that are made once take a third of the time of those that are made for each run.
#: The row of the trial that ``named`` names, and its observations.
THE_TRIAL = (trials.c.study_id == bindparam("of_study")) & (trials.c.id == bindparam("of_trial"))
ITS_OBSERVATIONS = (observations.c.study_id == bindparam("of_study")) & (
    observations.c.trial == bindparam("of_trial")
)
_ROW = select(trials).where(THE_TRIAL)
_LOCKED = _ROW.with_for_update()
_CHANGED = update(trials).where(THE_TRIAL)


def named(study: int, trial: str) -> dict[str, Any]:
    """The parameters of a statement about one trial."""
    return {"of_study": study, "of_trial": trial}


def lock_study(c: Connection, study: int) -> Row[Any]:
    """The row of a study, locked until the transaction ends.

    SQLite locks the whole file instead; both let one transaction at a time decide what is new.
    """
    return c.execute(select(studies).where(studies.c.id == study).with_for_update()).one()


def trial_row(c: Connection, study: int, trial: str) -> Row[Any] | None:
    """The row of a trial; None if there is none."""
    return c.execute(_ROW, named(study, trial)).one_or_none()


def lock_trial(c: Connection, study: int, trial: str) -> Row[Any]:
    """The row of a trial, locked until the transaction ends.

    Raises:
        StudyError: If there is none.
    """
    row = c.execute(_LOCKED, named(study, trial)).one_or_none()
    if row is None:
        raise unknown_trial(trial)
    return row


def close_trial(c: Connection, row: Row[Any], state: State, reason: str = "") -> None:
    """End a trial in a state; its lease ends with it."""
    end = {"state": state.value, "ended": clock.now(c), "reason": reason, **NO_LEASE}
    change_trial(c, row.study_id, row.id, end)


def change_trial(c: Connection, study: int, trial: str, values: Mapping[str, Any]) -> None:
    """Write columns of a trial's row."""
    c.execute(_CHANGED, {**values, **named(study, trial)})


def open_search(study: int) -> Select[Any]:
    """The ids of the search's trials that are not over yet."""
    t = trials.c
    return select(t.id).where(
        t.study_id == study,
        t.state.in_([State.waiting.value, State.running.value]),
        t.kind.in_([Kind.initial.value, Kind.proposed.value]),
    )


def unknown_trial(trial: str) -> NotFoundError:
    """The error for an id that the study has not."""
    return NotFoundError(
        f"the study has no trial {trial!r}", "ids are those of the trials that ask returned"
    )


def insert_trials(c: Connection, study: int, new: Sequence[Trial], state: State) -> None:
    """Add trials after those that are there; the study must be locked."""
    last = c.execute(select(func.max(trials.c.position)).where(trials.c.study_id == study)).scalar()
    first = 0 if last is None else last + 1
    rows = [_trial_row(study, first + i, t, state) for i, t in enumerate(new)]
    if rows:
        c.execute(insert(trials), rows)


def _trial_row(study: int, position: int, trial: Trial, state: State) -> dict[str, Any]:
    return {
        "study_id": study,
        "id": trial.id,
        "position": position,
        "round": trial.round,
        "kind": trial.kind.value,
        "spec": trial.model_dump_json(),
        "state": state.value,
    }


@lru_cache(maxsize=2048)
def trial_of(spec: str) -> Trial:
    """The trial of a stored text. It never changes, and a state is read again and again."""
    return Trial.model_validate_json(spec)


def record_of(row: Row[Any]) -> TrialRecord:
    """The value of a row of the table of trials."""
    return TrialRecord(
        trial=trial_of(row.spec),
        state=State(row.state),
        reason=row.reason,
        attempts=row.attempts,
        crashes=row.crashes,
        started=row.started,
        ended=row.ended,
        worker=row.worker,
        expires=row.expires,
        position=row.position,
    )
