"""Trials that are added, attached, failed or run again; see the methods of ``Storage``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from mixopt.errors import ConflictError
from mixopt.space import Observation, Trial
from mixopt.study.storage.leases import RETURNED, Lease, fence
from mixopt.study.storage.measurements import insert_observations, require_same_run
from mixopt.study.storage.rows import (
    ENDED,
    State,
    change_trial,
    close_trial,
    insert_trials,
    lock_study,
    trial_row,
)
from mixopt.study.storage.schema import trial_table as trials


def add(c: Connection, study: int, new: Sequence[Trial]) -> bool:
    """Add waiting trials; False, with nothing written, if an id is taken."""
    lock_study(c, study)
    ids = [t.id for t in new]
    known = select(trials.c.id).where(trials.c.study_id == study, trials.c.id.in_(ids))
    if c.execute(known).first() is not None:
        return False
    insert_trials(c, study, new, State.waiting)
    return True


def attach(c: Connection, study: int, trial: Trial, values: Sequence[Observation]) -> bool:
    """Add a finished trial; False, with nothing written, if the same run is there.

    Raises:
        StudyError: If the id belongs to another run, or to the same with other results.
    """
    lock_study(c, study)
    row = trial_row(c, study, trial.id)
    if row is not None:
        require_same_run(c, row, trial, values)
        return False
    insert_trials(c, study, [trial], State.finished)
    insert_observations(c, study, values)
    return True


def attach_next(c: Connection, study: int, trial: Trial, values: Sequence[Observation]) -> str:
    """Add a finished trial under the next free id, and return the id."""
    lock_study(c, study)
    ids = c.execute(select(trials.c.id).where(trials.c.study_id == study)).scalars()
    taken = [int(i[1:]) for i in ids if re.fullmatch(r"a\d{4,}", i)]
    name = f"a{max(taken, default=-1) + 1:04d}"
    insert_trials(c, study, [trial.model_copy(update={"id": name})], State.finished)
    insert_observations(c, study, [v.model_copy(update={"trial": name}) for v in values])
    return name


def fail(c: Connection, row: Row[Any], reason: str, lease: Lease | str | None) -> None:
    """Store that a trial failed, unless it has already.

    Raises:
        StudyError: If it has results, or the lease was lost or is missing.
    """
    if row.state in ENDED:
        raise ConflictError(
            f"trial {row.id!r} is {row.state} and cannot fail any more",
            "results are kept as they were told",
        )
    if row.state == State.failed.value:
        return
    fence(c, row, lease)
    close_trial(c, row, State.failed, _storable(reason))


def requeue(c: Connection, row: Row[Any], crashed: bool, lease: Lease | str | None) -> None:
    """Let a trial without results wait again.

    Raises:
        StudyError: If the lease was lost or is missing.
    """
    if row.state in ENDED:
        return
    fence(c, row, lease)
    again = {**RETURNED, "crashes": row.crashes + 1 if crashed else 0}
    change_trial(c, row.study_id, row.id, again)


def _storable(text: str) -> str:
    """Text from outside, without what a database refuses: zero bytes and halves of characters."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
