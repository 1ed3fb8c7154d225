"""The log of a study: what was decided and spent, event after event."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select

from mixopt.study.storage import clock
from mixopt.study.storage.rows import lock_study
from mixopt.study.storage.schema import event_table as events


def add(c: Connection, study: int, kind: str, payload: Mapping[str, Any], once: str | None) -> bool:
    """Append an event; False, with nothing written, if one named ``once`` is there."""
    if once is not None:
        lock_study(c, study)
        same = select(events.c.id).where(events.c.study_id == study, events.c.once == once)
        if c.execute(same).first() is not None:
            return False
    row = {
        "study_id": study,
        "time": clock.now(c),
        "kind": kind,
        "payload": json.dumps(payload),
        "once": once,
    }
    c.execute(insert(events).values(row))
    return True


def read(c: Connection, study: int, kind: str | None) -> list[dict[str, Any]]:
    """The events of a study, oldest first."""
    query = select(events).where(events.c.study_id == study).order_by(events.c.id)
    if kind is not None:
        query = query.where(events.c.kind == kind)
    return [
        {"time": row.time, "kind": row.kind, **json.loads(row.payload)} for row in c.execute(query)
    ]
