"""The log of a study: what was decided and spent, event after event."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select

from mixopt.study.storage import clock
from mixopt.study.storage.schema import event_table as events


def add(c: Connection, study: int, kind: str, payload: Mapping[str, Any]) -> None:
    """Append an event."""
    row = {"study_id": study, "time": clock.now(c), "kind": kind, "payload": json.dumps(payload)}
    c.execute(insert(events).values(row))


def read(c: Connection, study: int) -> tuple[dict[str, Any], ...]:
    """The events of a study, oldest first: ``time``, ``kind`` and what was stored with it."""
    rows = c.execute(select(events).where(events.c.study_id == study).order_by(events.c.id))
    return tuple({"time": r.time, "kind": r.kind, **json.loads(r.payload)} for r in rows)
