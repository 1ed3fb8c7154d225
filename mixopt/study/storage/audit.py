"""The log of what a service wrote, and for whom: in the transaction of the write itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from mixopt.study.storage import clock
from mixopt.study.storage.schema import audit_table as audits


@dataclass(frozen=True)
class Act:
    """One thing that somebody has a service do.

    Attributes:
        who: Name of the token.
        action: Name of what is done.
        study: Name of the study.
        trial: Id of the trial.
    """

    who: str
    action: str
    study: str | None = None
    trial: str | None = None


_KEEP = insert(audits)
_acting: ContextVar[list[Act] | None] = ContextVar("acting", default=None)


@contextmanager
def acting(act: Act) -> Iterator[None]:
    """Keep the act together with the first write of the block, or not at all."""
    before = _acting.set([act])
    try:
        yield
    finally:
        _acting.reset(before)


def pending() -> list[Act]:
    """The act that a write belongs to, once; nothing where none is to be kept."""
    acts = _acting.get()
    return [acts.pop()] if acts else []


def keep(c: Connection, acts: Sequence[Act]) -> None:
    """Write down what a transaction did."""
    if acts:
        at = clock.now(c)
        c.execute(_KEEP, [{"time": at, **asdict(act)} for act in acts])


def read(c: Connection, limit: int) -> list[dict[str, Any]]:
    """The newest acts, the newest first."""
    query = select(audits).order_by(audits.c.id.desc()).limit(limit)
    return [dict(row._mapping) for row in c.execute(query)]
