"""The one clock that a storage's times are read from."""

from __future__ import annotations

import time

from sqlalchemy import Connection, text

_SERVER = text("SELECT extract(epoch FROM clock_timestamp())")


def now(c: Connection) -> float:
    """Seconds since the epoch.

    A lease ends by the clock of the PostgreSQL server, so hosts whose clocks differ agree on when
    that is. A SQLite file has no server: the host's own clock is read, and hosts that share a file
    over a network must keep their clocks closer together than a lease is long.
    """
    if c.dialect.name == "postgresql":
        return float(c.execute(_SERVER).scalar_one())
    return time.time()
