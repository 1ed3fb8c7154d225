"""The one clock that a storage's times are read from."""

from __future__ import annotations

import time

from sqlalchemy import Connection, text

_SERVER = text("SELECT extract(epoch FROM clock_timestamp())")
_READ = "mixopt_now"


def forget(c: Connection) -> None:
    """Let the clock be read again, in a transaction that begins."""
    c.info.pop(_READ, None)


def now(c: Connection) -> float:
    """Seconds since the epoch, the same throughout a transaction.

    A lease ends by the clock of the PostgreSQL server, so hosts whose clocks differ agree on when
    that is. A SQLite file has no server: the host's own clock is read, and hosts that share a file
    over a network must keep their clocks closer together than a lease is long.
    """
    if _READ not in c.info:
        server = c.dialect.name == "postgresql"
        c.info[_READ] = float(c.execute(_SERVER).scalar_one()) if server else time.time()
    at: float = c.info[_READ]
    return at
