"""Leases: which worker runs a trial, until when, and whose writes count.

A lease is a token in the trial's row. Whoever takes the trial next writes another token there, so
a worker that was given up for dead cannot write any more, however late it comes back.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, delete, select, update

from mixopt.errors import LeaseError
from mixopt.space import Kind
from mixopt.study.storage import clock
from mixopt.study.storage.rows import (
    ITS_OBSERVATIONS,
    NO_LEASE,
    THE_TRIAL,
    State,
    TrialRecord,
    change_trial,
    lock_study,
    lock_trial,
    named,
    record_of,
    unknown_trial,
)
from mixopt.study.storage.schema import observation_table as observations
from mixopt.study.storage.schema import study_table as studies
from mixopt.study.storage.schema import trial_table as trials
from mixopt.study.storage.workers import is_dead, shown, this_host, this_worker

_CLEARED = delete(observations).where(ITS_OBSERVATIONS)
_RUN_BY = (
    select(trials)
    .where(trials.c.study_id == bindparam("study"), trials.c.worker == bindparam("worker"))
    .where(trials.c.state == State.running.value)
    .order_by(trials.c.position)
)
_GIVEN_BACK = update(trials).where(THE_TRIAL, trials.c.token == bindparam("held"))


@dataclass(frozen=True)
class Lease:
    """The right of one worker to run one trial for a time.

    Attributes:
        study: The study's number in the storage.
        trial: The trial's id.
        token: A name of this lease that no other has.
        worker: The process that holds it, as ``host:pid:born``.
        expires: Its end, in seconds since the epoch by the storage's clock.
    """

    study: int
    trial: str
    token: str
    worker: str
    expires: float


def take(
    c: Connection,
    study: int,
    *,
    worker: str,
    seconds: float,
    n: int | None,
    only: Sequence[str] | None,
    search_only: bool,
    key: str | None = None,
) -> list[tuple[TrialRecord, Lease]]:
    """Start trials that nobody runs; see ``Storage.lease``."""
    at = clock.now(c)
    known = [] if key is None else _taken_before(c, study, worker, key)
    if known:
        return known
    key = key or uuid.uuid4().hex
    return [
        _start(c, row, Lease(study, row.id, _token(key, row.id), worker, at + seconds), at)
        for row in _free(c, study, at, n, only, search_only)
    ]


def _start(c: Connection, row: Row[Any], lease: Lease, at: float) -> tuple[TrialRecord, Lease]:
    # What an earlier attempt left is not of the run that starts now.
    c.execute(_CLEARED, named(lease.study, lease.trial))
    started = {
        "state": State.running,
        "attempts": row.attempts + 1,
        "reason": "",
        "started": at,
        "ended": None,
        "worker": lease.worker,
        "expires": lease.expires,
    }
    stored = {**started, "state": State.running.value, "token": lease.token}
    change_trial(c, lease.study, lease.trial, stored)
    return replace(record_of(row), **started), lease


def _token(key: str, trial: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{key}/{trial}").hex


def _taken_before(
    c: Connection, study: int, worker: str, key: str
) -> list[tuple[TrialRecord, Lease]]:
    """What the same request was given when its answer was lost on the way."""
    rows = c.execute(_RUN_BY, {"study": study, "worker": worker})
    return [
        (record_of(row), Lease(study, row.id, row.token, worker, row.expires))
        for row in rows
        if row.token == _token(key, row.id)
    ]


def _free(
    c: Connection,
    study: int,
    at: float,
    n: int | None,
    only: Collection[str] | None,
    search_only: bool,
) -> Sequence[Row[Any]]:
    """Open trials that no living worker holds, locked, in the order of their proposal.

    A row that is locked meanwhile is being taken or written by somebody else: it is passed over,
    so that workers do not queue behind one another.
    """
    if only is not None:
        _require_known(c, study, only)
    given: dict[str, Any] = {"study": study, "at": at, "here": f"{this_host()}:%", "n": n}
    given["only"] = list(only or ())
    doubtful, waiting, free = _looks(only is not None, search_only, n is not None)
    lost = [row for row in c.execute(doubtful, given) if not _living(row, at)]
    if not lost:
        return c.execute(waiting, given).all()
    dead = [row.token for row in lost if row.expires > at]
    return c.execute(free, {**given, "dead": dead}).all()


@cache
def _looks(
    some: bool, search_only: bool, limited: bool
) -> tuple[Select[Any], Select[Any], Select[Any]]:
    """Trials that run under a lease that may be over, those that wait, and those that are free."""
    t = trials.c
    mine = [t.study_id == bindparam("study")]
    if some:
        mine.append(t.id.in_(bindparam("only", expanding=True)))
    elif search_only:
        mine.append(t.kind.in_([Kind.initial.value, Kind.proposed.value]))
    running, expired = t.state == State.running.value, t.expires <= bindparam("at")
    # Those of this host, and perhaps of others with a similar name, who are looked at too.
    here = t.worker.like(bindparam("here"))
    doubtful = select(t.token, t.worker, t.expires).where(*mine, running, expired | here)
    waits = t.state == State.waiting.value
    # One that expired may be prolonged before it is locked, and is then not free.
    over = running & expired | t.token.in_(bindparam("dead", expanding=True))
    waiting, free = (
        select(trials)
        .where(*mine, open_one)
        .order_by(t.position)
        .limit(bindparam("n") if limited else None)
        .with_for_update(skip_locked=True)
        for open_one in (waits, waits | over)
    )
    return doubtful, waiting, free


def _require_known(c: Connection, study: int, wanted: Collection[str]) -> None:
    query = select(trials.c.id).where(trials.c.study_id == study, trials.c.id.in_(wanted))
    known = set(c.execute(query).scalars())
    for trial in wanted:
        if trial not in known:
            raise unknown_trial(trial)


def _living(row: Any, at: float) -> bool:
    """Whether a lease holds: it has not ended, nor has its process on this host."""
    return row.expires is not None and row.expires > at and not is_dead(row.worker)


def fence(c: Connection, row: Row[Any], lease: Lease | str | None) -> None:
    """Refuse a write to an open trial by anybody but the one who runs it.

    Args:
        c: In the transaction of the write.
        row: The trial's row, locked.
        lease: The writer's lease or its token; None for a writer without one, whose trial must
            not be run by another process.

    Raises:
        LeaseError: Naming the trial and who holds it.
    """
    token = lease.token if isinstance(lease, Lease) else lease
    if token is not None and row.token != token:
        raise _stale(row)
    if token is None and row.state == State.running.value and row.worker != this_worker():
        if _living(row, clock.now(c)):
            raise LeaseError(
                f"trial {row.id!r} is being run by {shown(row.worker)}, and this process holds no "
                "lease of it",
                "wait for its results, or until its lease expires; then ask again",
            )


def _stale(row: Row[Any]) -> LeaseError:
    now = f"{shown(row.worker)} holds it now" if row.token else f"it is {row.state} now"
    return LeaseError(
        f"the lease of trial {row.id!r} is not valid any more: {now}",
        "drop this attempt, its results are not used, and ask for another trial",
    )


def prolong(c: Connection, lease: Lease, seconds: float) -> Lease:
    """Let a lease end so many seconds from now.

    Raises:
        LeaseError: If it was lost.
    """
    row = lock_trial(c, lease.study, lease.trial)
    fence(c, row, lease)
    longer = replace(lease, expires=clock.now(c) + seconds)
    change_trial(c, lease.study, lease.trial, {"expires": longer.expires})
    return longer


def give_back(c: Connection, lease: Lease) -> bool:
    """Let the trial wait again; False, with nothing written, if the lease was lost."""
    held = {**named(lease.study, lease.trial), "held": lease.token}
    return c.execute(_GIVEN_BACK, {**RETURNED, **held}).rowcount > 0


# What the end of a lease leaves in the row of a trial that waits again.
RETURNED = {
    "state": State.waiting.value,
    "reason": "",
    "ended": None,
    "worker": None,
    **NO_LEASE,
}


def take_proposing(c: Connection, study: int, worker: str, seconds: float) -> str | None:
    """A token for proposing the next round; None while another process does."""
    row, at = lock_study(c, study), clock.now(c)
    if _living(row, at):
        return None
    token = uuid.uuid4().hex
    held = {"token": token, "worker": worker, "expires": at + seconds}
    c.execute(update(studies).where(studies.c.id == study).values(held))
    return token


def give_proposing_back(c: Connection, study: int, token: str) -> None:
    """Let another process propose; nothing happens if one already does."""
    mine = (studies.c.id == study) & (studies.c.token == token)
    c.execute(update(studies).where(mine).values(token=None, worker=None, expires=None))
