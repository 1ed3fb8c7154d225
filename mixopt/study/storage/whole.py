"""Whole studies: put away, deleted, and copied from one storage to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, select, update

from mixopt.errors import ConflictError
from mixopt.study.storage import clock
from mixopt.study.storage.rows import State
from mixopt.study.storage.schema import (
    event_table,
    observation_table,
    study_table,
    trial_table,
)
from mixopt.study.storage.storage import Storage

# What hangs on a study, in an order in which each row finds what it names.
_PARTS = (trial_table, observation_table, event_table)


def set_archived(store: Storage, study: int, archived: bool) -> None:
    """Put a study away, or take it out again; its trials stay as they are."""
    with store.write() as c:
        at = clock.now(c) if archived else None
        c.execute(update(study_table).where(study_table.c.id == study).values(archived=at))


def delete_study(store: Storage, study: int) -> None:
    """Delete a study with everything that hangs on it, for good."""
    with store.write() as c:
        for table in reversed(_PARTS):
            c.execute(delete(table).where(table.c.study_id == study))
        c.execute(delete(study_table).where(study_table.c.id == study))


def copy_study(source: Storage, name: str, target: Storage, as_name: str | None = None) -> int:
    """Copy a study as it is into another storage; trials that run wait there.

    Args:
        source: Where it is.
        name: Of the study.
        target: Where it goes.
        as_name: Its name there; None for the same.

    Returns:
        Its number there.

    Raises:
        NotFoundError: If the source has no such study.
        ConflictError: If the target has one of that name.
    """
    row = source.require_study(name)
    with source.read() as c:
        hanging = {t: c.execute(select(t).where(t.c.study_id == row.id)).all() for t in _PARTS}
    wanted = as_name or name
    if target.study(wanted) is not None:
        raise ConflictError(
            f"the storage {target.url} has a study {wanted!r} already", "give it another name"
        )
    new = {**{k: v for k, v in row._mapping.items() if k != "id"}, **_FREE, "name": wanted}
    with target.write() as c:
        c.execute(insert(study_table).values(new))
        mine = select(study_table.c.id).where(study_table.c.name == wanted)
        number = int(c.execute(mine).scalar_one())
        for table, rows in hanging.items():
            if rows:
                c.execute(insert(table), [_moved(dict(r._mapping), number) for r in rows])
    return number


def write_study(source: Storage, name: str, path: Path) -> None:
    """Copy a study into a file of its own, which every verb reads with ``--storage``.

    Raises:
        NotFoundError: If the source has no such study.
        ConflictError: If the file holds a study of that name.
    """
    target = Storage(path)
    try:
        copy_study(source, name, target)
    finally:
        target.close()


_FREE = {"token": None, "worker": None, "expires": None}


def _moved(row: dict[str, Any], study: int) -> dict[str, Any]:
    """A row of another storage as one of this study here."""
    # Trials are named by the study; only events have numbers of their own.
    kept = {k: v for k, v in row.items() if k != "id" or "spec" in row}
    waits = {**_FREE, "state": State.waiting.value} if row.get("state") == State.running else {}
    return {**kept, "study_id": study, **waits}
