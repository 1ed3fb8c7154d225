"""A study's storage: everything it knows, in four tables that any process may open."""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from mixopt.errors import StudyError
from mixopt.space import Kind, Observation, Split, Trial
from mixopt.study.storage.engine import open_engine, storage_url, translated
from mixopt.study.storage.schema import event_table as events
from mixopt.study.storage.schema import observation_table as observations
from mixopt.study.storage.schema import study_table as studies
from mixopt.study.storage.schema import trial_table as trials


class State(StrEnum):
    """Where a trial stands."""

    waiting = "waiting"
    running = "running"
    finished = "finished"
    ended_early = "ended_early"
    failed = "failed"


#: States of trials whose results are complete.
OVER = (State.finished, State.ended_early)


@dataclass(frozen=True)
class TrialRecord:
    """A trial as stored.

    Attributes:
        trial: What was proposed.
        state: Where it stands.
        reason: Why it failed; empty otherwise.
        attempts: How often it was started.
        crashes: How often its worker died.
        started: Seconds since the epoch; None before its first start.
        ended: Seconds since the epoch; None while it is open.
    """

    trial: Trial
    state: State
    reason: str
    attempts: int
    crashes: int
    started: float | None
    ended: float | None

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


class Storage:
    """Rows in, rows out, each call one transaction; safe to use from many processes.

    Args:
        storage: URL, path to a SQLite file, or None for memory.

    Raises:
        StudyError: If it cannot be opened (see ``open_engine``).
    """

    def __init__(self, storage: str | Path | None) -> None:
        self.url = storage_url(storage)
        self._engine = open_engine(self.url)
        self._reader = self._engine.execution_options(reading=True)

    @property
    def in_memory(self) -> bool:
        """Whether it ends with this process."""
        return self.url == "sqlite://" or self.url.startswith("sqlite:///:memory:")

    def close(self) -> None:
        """Give back every connection."""
        self._engine.dispose()

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with translated(self.url), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with translated(self.url), self._reader.begin() as connection:
            yield connection

    # Studies

    def study_names(self) -> list[str]:
        """Every study it holds, oldest first."""
        with self._read() as c:
            return list(c.execute(select(studies.c.name).order_by(studies.c.id)).scalars())

    def study(self, name: str) -> Row[Any] | None:
        """The row of a study; None if it is not there yet."""
        with self._read() as c:
            return c.execute(select(studies).where(studies.c.name == name)).one_or_none()

    def require_study(self, name: str | None) -> Row[Any]:
        """The row of a study; without a name, of the only one.

        Raises:
            StudyError: If there is no such study, or several and no name.
        """
        names = self.study_names()
        chosen = names[0] if name is None and len(names) == 1 else name
        row = None if chosen is None else self.study(chosen)
        if row is None:
            wanted = "one study" if name is None else f"the study {name!r}"
            raise StudyError(
                f"the storage {self.url} must hold {wanted}; it holds {names}",
                "name one of these" if names else "run a study on this storage first",
            )
        return row

    def create_study(self, name: str, config: str, digest: str, settings: str) -> int:
        """Add a study unless another process just did; returns its id."""
        with self._write() as c:
            found = c.execute(select(studies.c.id).where(studies.c.name == name)).scalar()
            if found is not None:
                return int(found)
            row = insert(studies).values(
                name=name, config=config, config_hash=digest, settings=settings, created=time.time()
            )
            return int(c.execute(row.returning(studies.c.id)).scalar_one())

    def update_settings(self, study: int, settings: str) -> None:
        """Keep settings that may change between runs (the budget, say)."""
        with self._write() as c:
            c.execute(update(studies).where(studies.c.id == study).values(settings=settings))

    # Ownership

    def claim(self, study: int) -> str:
        """Become the one process that runs a study's trials; returns its token.

        Raises:
            StudyError: If a live process on this machine holds it.
        """
        token = uuid.uuid4().hex
        with self._write() as c:
            row = c.execute(select(studies).where(studies.c.id == study)).one()
            if row.owner is not None and row.owner_host == socket.gethostname():
                if _alive(row.owner_pid, row.owner_born) and row.owner_pid != os.getpid():
                    raise StudyError(
                        f"the study {row.name!r} is being run by process {row.owner_pid} on this "
                        "machine",
                        "wait for it, or end it first: the same command then goes on",
                    )
            mine = {
                "owner": token,
                "owner_host": socket.gethostname(),
                "owner_pid": os.getpid(),
                "owner_born": _born(os.getpid()),
            }
            c.execute(update(studies).where(studies.c.id == study).values(**mine))
        return token

    def release(self, study: int, token: str) -> None:
        """Let another process run the study; nothing happens if one already does."""
        with self._write() as c:
            c.execute(
                update(studies)
                .where(studies.c.id == study, studies.c.owner == token)
                .values(owner=None, owner_host=None, owner_pid=None, owner_born=None)
            )

    # Trials

    def add_trials(self, study: int, new: Sequence[Trial], state: State = State.waiting) -> bool:
        """Add trials, all or none.

        Returns:
            False, with nothing written, if one of the ids is already there.
        """
        with self._write() as c:
            ids = [t.id for t in new]
            known = select(trials.c.id).where(trials.c.study_id == study, trials.c.id.in_(ids))
            if c.execute(known).first() is not None:
                return False
            last = c.execute(
                select(func.max(trials.c.position)).where(trials.c.study_id == study)
            ).scalar()
            first = 0 if last is None else last + 1
            rows = [_trial_row(study, first + i, t, state) for i, t in enumerate(new)]
            if rows:
                c.execute(insert(trials), rows)
        return True

    def attach(self, study: int, trial: Trial, values: Sequence[Observation]) -> bool:
        """Add a finished trial with its observations; False if its id is already there."""
        with self._write() as c:
            mine = (trials.c.study_id == study, trials.c.id == trial.id)
            if c.execute(select(trials.c.id).where(*mine)).first() is not None:
                return False
            last = c.execute(
                select(func.max(trials.c.position)).where(trials.c.study_id == study)
            ).scalar()
            position = 0 if last is None else last + 1
            c.execute(insert(trials), [_trial_row(study, position, trial, State.finished)])
            _insert_observations(c, study, values)
        return True

    def trials(self, study: int) -> list[TrialRecord]:
        """Every trial in the order in which they were proposed."""
        query = select(trials).where(trials.c.study_id == study).order_by(trials.c.position)
        with self._read() as c:
            return [_record(row) for row in c.execute(query)]

    def trial(self, study: int, trial: str) -> TrialRecord | None:
        """One trial; None if the study has none of that id."""
        query = select(trials).where(trials.c.study_id == study, trials.c.id == trial)
        with self._read() as c:
            row = c.execute(query).one_or_none()
        return None if row is None else _record(row)

    def start(self, study: int, trial: str, owner: str | None) -> bool:
        """Begin an attempt: what an earlier, unfinished one left is dropped.

        Returns:
            False, with nothing changed, if the trial is not open any more.

        Raises:
            StudyError: If the study is run by somebody else now.
        """
        with self._write() as c:
            holder = c.execute(select(studies.c.owner).where(studies.c.id == study)).scalar()
            if owner is not None and holder != owner:
                raise _taken(trial)
            row = self._row(c, study, trial)
            if row.state in (*OVER, State.failed):
                return False
            c.execute(delete(observations).where(_of(observations, study, trial)))
            changed = {
                "state": State.running,
                "attempts": row.attempts + 1,
                "owner": owner,
                "started": time.time(),
            }
            c.execute(update(trials).where(_is(study, trial)).values(**changed))
        return True

    def record(
        self,
        study: int,
        trial: str,
        values: Sequence[Observation],
        *,
        owner: str | None = None,
        end: State | None = None,
    ) -> None:
        """Store observations of one trial, and its end, in one transaction.

        Raises:
            StudyError: If the trial is unknown, failed, or owned by another run, or if a value
                conflicts with the one stored.
        """
        with self._write() as c:
            row = self._row(c, study, trial)
            _fence(row, owner)
            if row.state == State.failed:
                raise StudyError(
                    f"trial {trial!r} is stored as failed ({row.reason}) and takes no values",
                    "call requeue first if it is to be run again",
                )
            new = _unstored(c, study, trial, values, row.state in OVER)
            _insert_observations(c, study, new)
            if end is not None and row.state not in OVER:
                done = {"state": end, "ended": time.time(), "reason": ""}
                c.execute(update(trials).where(_is(study, trial)).values(**done))

    def fail(self, study: int, trial: str, reason: str, owner: str | None = None) -> None:
        """Store that a trial failed, and why; a finished trial stays finished.

        Raises:
            StudyError: If the trial is unknown, finished or owned by another run.
        """
        with self._write() as c:
            row = self._row(c, study, trial)
            _fence(row, owner)
            if row.state in OVER:
                raise StudyError(
                    f"trial {trial!r} is finished and cannot fail any more",
                    "results are kept as they were told",
                )
            end = {"state": State.failed, "ended": time.time(), "reason": reason}
            c.execute(update(trials).where(_is(study, trial)).values(**end))

    def requeue(self, study: int, trial: str, *, crashed: bool = False) -> None:
        """Let a trial wait again, with the same weights and seed."""
        with self._write() as c:
            row = self._row(c, study, trial)
            if row.state in OVER:
                return
            again = {
                "state": State.waiting,
                "reason": "",
                "crashes": row.crashes + 1 if crashed else 0,
                "ended": None,
            }
            c.execute(update(trials).where(_is(study, trial)).values(**again))

    def observations(self, study: int, trial: str | None = None) -> list[Observation]:
        """Every observation, in the order of trials, tokens and metrics."""
        query = (
            select(observations)
            .join(
                trials,
                (trials.c.study_id == observations.c.study_id)
                & (trials.c.id == observations.c.trial),
            )
            .where(observations.c.study_id == study)
            .order_by(trials.c.position, observations.c.tokens, observations.c.metric)
        )
        if trial is not None:
            query = query.where(observations.c.trial == trial)
        with self._read() as c:
            return [_observation(row) for row in c.execute(query)]

    # Events

    def add_event(self, study: int, kind: str, payload: Mapping[str, Any]) -> None:
        """Append to the study's log."""
        with self._write() as c:
            c.execute(
                insert(events).values(
                    study_id=study, time=time.time(), kind=kind, payload=json.dumps(payload)
                )
            )

    def events(self, study: int, kind: str | None = None) -> list[dict[str, Any]]:
        """The study's log, oldest first: ``time``, ``kind`` and what was stored with it."""
        query = select(events).where(events.c.study_id == study).order_by(events.c.id)
        if kind is not None:
            query = query.where(events.c.kind == kind)
        with self._read() as c:
            return [
                {"time": row.time, "kind": row.kind, **json.loads(row.payload)}
                for row in c.execute(query)
            ]

    @staticmethod
    def _row(c: Connection, study: int, trial: str) -> Row[Any]:
        row = c.execute(select(trials).where(_is(study, trial))).one_or_none()
        if row is None:
            raise unknown_trial(trial)
        return row


def unknown_trial(trial: str) -> StudyError:
    """The error for an id that the study has not."""
    return StudyError(
        f"the study has no trial {trial!r}", "ids are those of the trials that ask returned"
    )


def _is(study: int, trial: str) -> Any:
    return (trials.c.study_id == study) & (trials.c.id == trial)


def _of(table: Any, study: int, trial: str) -> Any:
    return (table.c.study_id == study) & (table.c.trial == trial)


def _taken(trial: str) -> StudyError:
    return StudyError(
        f"trial {trial!r} belongs to another run of the study now",
        "this process is left over from a run that was killed; its results are not used",
    )


def _fence(row: Row[Any], owner: str | None) -> None:
    if owner is not None and row.owner != owner:
        raise _taken(row.id)


def _trial_row(study: int, position: int, trial: Trial, state: State) -> dict[str, Any]:
    return {
        "study_id": study,
        "id": trial.id,
        "position": position,
        "round": trial.round,
        "kind": trial.kind,
        "spec": trial.model_dump_json(),
        "state": state,
    }


def _record(row: Row[Any]) -> TrialRecord:
    return TrialRecord(
        trial=Trial.model_validate_json(row.spec),
        state=State(row.state),
        reason=row.reason,
        attempts=row.attempts,
        crashes=row.crashes,
        started=row.started,
        ended=row.ended,
    )


def _observation(row: Row[Any]) -> Observation:
    return Observation(
        trial=row.trial,
        tokens=row.tokens,
        metric=row.metric,
        value=row.value,
        split=Split(row.split),
    )


def _insert_observations(c: Connection, study: int, values: Sequence[Observation]) -> None:
    rows = [{"study_id": study, **v.model_dump(mode="json")} for v in values]
    if rows:
        c.execute(insert(observations), rows)


def _unstored(
    c: Connection, study: int, trial: str, values: Sequence[Observation], closed: bool
) -> list[Observation]:
    """The values not stored yet; those that are must be the same."""
    rows = c.execute(select(observations).where(_of(observations, study, trial)))
    stored = {(row.tokens, row.metric, row.split): row.value for row in rows}
    new = []
    for v in values:
        known = stored.get((v.tokens, v.metric, v.split))
        if known is None and not closed:
            new.append(v)
        elif known is None or known != v.value:
            was = "it is finished without it" if known is None else f"stored is {known!r}"
            raise StudyError(
                f"trial {trial!r} was told {v.metric} = {v.value!r} at {v.tokens:,} tokens, but "
                f"{was}",
                "results are never overwritten; attach a repeated run as a trial of its own",
            )
    return new


def _born(pid: int) -> float | None:
    """When a process started, in clock ticks; None for one that is dead or cannot be seen."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else float(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def _alive(pid: int, born: float | None) -> bool:
    """Whether the very process that claimed a study still runs (ids are used again)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _born(pid) == born
