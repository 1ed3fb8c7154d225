"""A study's storage: everything it knows, in tables that any process may open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock, local
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError

from mixopt.errors import NotFoundError
from mixopt.space import Observation, Split, Trial
from mixopt.study.storage import audit, changes, clock, leases, log, measurements, rows
from mixopt.study.storage.engine import PATIENCE, in_memory, masked, storage_url, transaction
from mixopt.study.storage.leases import Lease
from mixopt.study.storage.measurements import End, Telling
from mixopt.study.storage.rows import State, TrialRecord, lock_trial, record_of, trial_row
from mixopt.study.storage.schema import study_table as studies
from mixopt.study.storage.schema import trial_table as trials
from mixopt.study.storage.upgrade import open_database

#: Records of the trials, values per trial and split, and events.
Snapshot = tuple[
    tuple[TrialRecord, ...],
    dict[tuple[str, Split], dict[str, float]],
    tuple[dict[str, Any], ...],
]


@dataclass
class _Joined:
    """A transaction of several calls, and what they did for whom."""

    connection: Connection
    acts: list[audit.Act] = field(default_factory=list)


class Storage:
    """Rows in, rows out, each call one transaction; safe to use from many processes.

    Args:
        storage: URL, path to a SQLite file, or None for memory.
        create: Whether a file or tables that are not there are made.
        read_only: Whether nothing is written, not even a file beside the database.
        patience: Seconds for which each call waits for a server that is away, once it has
            answered.

    Attributes:
        url: The database, as text that may be shown: without a password.
        address: The database with its password, to open it again; shown without it too.

    Raises:
        StudyError: If it cannot be opened, is not a database of mixopt, or is from a newer
            version.
    """

    def __init__(
        self,
        storage: str | Path | URL | None,
        *,
        create: bool = True,
        read_only: bool = False,
        patience: float = PATIENCE,
    ) -> None:
        self._patience = patience
        # SQLite has one writer at a time, and those that wait for its lock sleep: threads of one
        # process take turns instead.
        single = storage_url(storage).get_backend_name() == "sqlite"
        self._turn: AbstractContextManager[object] = RLock() if single else nullcontext()
        # What this thread writes in, which its further calls join.
        self._here = local()
        self.address = storage_url(storage)
        self.url = masked(self.address)
        self._engine = open_database(self.address, create=create, read_only=read_only)
        # The reads of one transaction see one moment; SQLite's always do.
        level = (
            {} if self._engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        )
        self._reader = self._engine.execution_options(reading=True, **level)

    def __repr__(self) -> str:
        return f"Storage({self.url!r})"

    @property
    def in_memory(self) -> bool:
        """Whether it ends with this process."""
        return in_memory(self.address)

    def close(self) -> None:
        """Give back every connection."""
        self._engine.dispose()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that may change rows; it is named in the audit log where one is kept.

        Calls of the same thread inside the block are part of it: an error that leaves the block
        undoes them all.
        """
        joined: _Joined | None = getattr(self._here, "joined", None)
        if joined is not None:
            yield joined.connection
            joined.acts += audit.pending()
            return
        with self._turn, transaction(self._engine, self.address, self._patience) as connection:
            own = self._here.joined = _Joined(connection)
            try:
                yield connection
            finally:
                self._here.joined = None
            audit.keep(connection, own.acts + audit.pending())

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One transaction that reads; inside a block of ``write``, that one."""
        joined: _Joined | None = getattr(self._here, "joined", None)
        if joined is not None:
            yield joined.connection
            return
        with transaction(self._reader, self.address, self._patience) as connection:
            yield connection

    def now(self) -> float:
        """Seconds since the epoch by the clock that every stored time is read from."""
        with self.read() as c:
            return clock.now(c)

    # Studies

    def study_names(self) -> list[str]:
        """Every study it holds, oldest first."""
        with self.read() as c:
            return list(c.execute(select(studies.c.name).order_by(studies.c.id)).scalars())

    def study(self, name: str) -> Row[Any] | None:
        """The row of a study; None if it is not there yet."""
        with self.read() as c:
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
            raise NotFoundError(
                f"the storage {self.url} must hold {wanted}; it holds {names}",
                "name one of these" if names else "run a study on this storage first",
            )
        return row

    def create_study(self, name: str, config: str, digest: str, settings: str) -> int:
        """Add a study unless another process just did; returns its id."""
        row = self.study(name)
        if row is not None:
            return int(row.id)
        new = {"name": name, "config": config, "config_hash": digest, "settings": settings}
        with self.write() as c:
            # Of two that insert at once the second waits for the first, and then finds its row.
            with suppress(IntegrityError), c.begin_nested():
                c.execute(insert(studies).values(**new, created=clock.now(c)))
            return int(c.execute(select(studies.c.id).where(studies.c.name == name)).scalar_one())

    def update_settings(self, study: int, settings: str) -> None:
        """Keep settings that may change between runs (the budget, say)."""
        with self.write() as c:
            c.execute(update(studies).where(studies.c.id == study).values(settings=settings))

    @contextmanager
    def propose_lock(self, study: int, *, worker: str, seconds: float) -> Iterator[bool]:
        """Let one process at a time compute the next round.

        Args:
            study: Its number.
            worker: From ``this_worker``.
            seconds: After which another process may propose, should this one hang.

        Yields:
            Whether it is this one; False while another process proposes.
        """
        with self.write() as c:
            token = leases.take_proposing(c, study, worker, seconds)
        try:
            yield token is not None
        finally:
            if token is not None:
                with self.write() as c:
                    leases.give_proposing_back(c, study, token)

    # Leases

    def lease(
        self,
        study: int,
        *,
        worker: str,
        seconds: float,
        n: int | None = None,
        trials: Sequence[str] | None = None,
        search_only: bool = True,
        key: str | None = None,
    ) -> list[tuple[TrialRecord, Lease]]:
        """Start trials that nobody runs: waiting ones, and those whose lease is over.

        A lease is over when its time is, or when its process on this host has ended. What an
        earlier attempt has left is dropped; weights and seed are the same.

        Args:
            study: Its number.
            worker: From ``this_worker``.
            seconds: How long the lease lasts unless ``heartbeat`` prolongs it.
            n: At most so many; None for all.
            trials: Ids to choose from; those that are run or over are left out. None for all.
            search_only: Whether only the search's trials are meant where ``trials`` is None.
            key: A name of the request, at random; the same one again is given the same trials.

        Returns:
            The trials, now running, with their leases, in the order of their proposal. No other
            process gets any of them before its lease is over.

        Raises:
            StudyError: If one of the ids is unknown.
        """
        with self.write() as c:
            return leases.take(
                c,
                study,
                worker=worker,
                seconds=seconds,
                n=n,
                only=trials,
                search_only=search_only,
                key=key,
            )

    def heartbeat(self, lease: Lease, seconds: float) -> Lease:
        """The lease, prolonged to so many seconds from now.

        Raises:
            StudyError: If it was lost; naming who holds the trial now.
        """
        with self.write() as c:
            return leases.prolong(c, lease, seconds)

    def give_back(self, lease: Lease) -> bool:
        """Let a trial wait again; False, with nothing written, if the lease was lost."""
        with self.write() as c:
            return leases.give_back(c, lease)

    # Trials

    def any_open(self, study: int) -> bool:
        """Whether a trial of the search is not over yet."""
        with self.read() as c:
            return c.execute(rows.open_search(study).limit(1)).first() is not None

    def counts(self, study: int) -> dict[State, int]:
        """How many trials stand where; states that none has are left out."""
        query = select(trials.c.state, func.count()).where(trials.c.study_id == study)
        with self.read() as c:
            found = c.execute(query.group_by(trials.c.state)).all()
        return {State(state): count for state, count in found}

    def add_trials(self, study: int, new: Sequence[Trial]) -> bool:
        """Add waiting trials, all or none.

        Returns:
            False, with nothing written, if one of the ids is already there.
        """
        with self.write() as c:
            return changes.add(c, study, new)

    def attach(self, study: int, runs: Sequence[tuple[Trial, Sequence[Observation]]]) -> int:
        """Add finished trials with their observations, all or none.

        Returns:
            How many of them were not there yet.

        Raises:
            StudyError: If an id belongs to another run, or to the same with other results.
        """
        with self.write() as c:
            return sum(changes.attach(c, study, trial, values) for trial, values in runs)

    def attach_next(self, study: int, trial: Trial, values: Sequence[Observation]) -> str:
        """Add a finished trial under the next free id, ``a0000`` first; returns the id."""
        with self.write() as c:
            return changes.attach_next(c, study, trial, values)

    def trials(
        self, study: int, *, after: int = -1, limit: int | None = None, state: State | None = None
    ) -> list[TrialRecord]:
        """Every trial in the order in which they were proposed.

        Args:
            study: Its number.
            after: Position (from 0) of the last trial that is not wanted.
            limit: At most so many; None for all.
            state: Only those that stand there; None for all.
        """
        query = select(trials).where(trials.c.study_id == study, trials.c.position > after)
        if state is not None:
            query = query.where(trials.c.state == state.value)
        query = query.order_by(trials.c.position).limit(limit)
        with self.read() as c:
            return [record_of(row) for row in c.execute(query)]

    def trial(self, study: int, trial: str) -> TrialRecord | None:
        """One trial; None if the study has none of that id."""
        with self.read() as c:
            row = trial_row(c, study, trial)
        return None if row is None else record_of(row)

    def record(
        self,
        study: int,
        trial: str,
        values: Sequence[Observation],
        *,
        lease: Lease | str | None,
        end: State | None = None,
    ) -> None:
        """Store observations of one trial, and its end; as ``tell``."""
        self.tell(study, trial, lambda *_: (values, end), lease=lease)

    def tell(
        self, study: int, trial: str, telling: Telling[End], *, lease: Lease | str | None
    ) -> End:
        """Store observations of one trial, and its end, in one transaction.

        Args:
            study: Its number.
            trial: Its id.
            telling: From the trial and what is stored of it, what is told, some of which may be
                stored already if it is the same, and the end: ``finished`` or ``ended_early``, None
                for a trial that goes on.
            lease: Of the trial, or its token; None where no other process runs the trial.

        Returns:
            The end.

        Raises:
            StudyError: If the trial is unknown or failed, the lease was lost or is missing, or a
                value or the end is not what is stored; and what ``telling`` raises.
        """
        with self.write() as c:
            return measurements.tell(c, lock_trial(c, study, trial), telling, lease)

    def fail(self, study: int, trial: str, reason: str, *, lease: Lease | str | None) -> None:
        """Store that a trial failed, and why; a trial that failed keeps its first reason.

        Raises:
            StudyError: If the trial is unknown or has results, or the lease was lost or is
                missing.
        """
        with self.write() as c:
            changes.fail(c, lock_trial(c, study, trial), reason, lease)

    def requeue(
        self,
        study: int,
        trial: str,
        *,
        crashed: bool = False,
        lease: Lease | str | None = None,
    ) -> None:
        """Let a trial wait again, with the same weights and seed; one with results is left alone.

        Args:
            study: Its number.
            trial: Its id.
            crashed: Whether its worker died, which is counted; else the count begins anew.
            lease: Of a running trial; None where no other process runs it.

        Raises:
            StudyError: If the trial is unknown, or the lease was lost or is missing.
        """
        with self.write() as c:
            changes.requeue(c, lock_trial(c, study, trial), crashed, lease)

    # Measurements

    def observations(self, study: int, trial: str | None = None) -> list[Observation]:
        """Every observation, in the order of trials, tokens and metrics."""
        with self.read() as c:
            return measurements.all_observations(c, study, trial)

    def rungs(
        self, study: int, tokens: int | None = None
    ) -> dict[int, dict[str, dict[str, float]]]:
        """Metrics on the validation text per tokens and trial.

        Args:
            study: Its number.
            tokens: Of the one rung wanted; None for every rung at which a trial ended early.
        """
        with self.read() as c:
            return measurements.rungs(c, study, tokens)

    def snapshot(self, study: int) -> Snapshot:
        """Every trial, its metrics after the most tokens per split, and the log, of one moment."""
        query = select(trials).where(trials.c.study_id == study).order_by(trials.c.position)
        with self.read() as c:
            return (
                tuple(record_of(row) for row in c.execute(query)),
                measurements.last_values(c, study),
                log.read(c, study),
            )

    def add_event(self, study: int, kind: str, payload: Mapping[str, Any]) -> None:
        """Append what happened to the study's log, with facts that JSON can hold."""
        with self.write() as c:
            log.add(c, study, kind, payload)
