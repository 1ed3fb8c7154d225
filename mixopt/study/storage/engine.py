"""Opening a database: where it lies, how SQLite is set up, and how a password stays hidden."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.pool import NullPool, QueuePool

from mixopt.errors import StorageError, StudyError
from mixopt.study.storage import clock

# Shared-memory files of WAL do not work across machines, so there it stays off.
NETWORK_FILESYSTEMS = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "fuse",
    "afs",
)

BUSY_MILLISECONDS = 60_000
#: Seconds for which a server that is away is waited for, once it has answered.
PATIENCE = 120.0
#: Between two tries to reach it: at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0

_log = logging.getLogger("mixopt.storage")

# What a URL's query may hold that nobody should read.
_SECRETS = ("password", "passwd", "sslpassword")


def storage_url(storage: str | Path | URL | None) -> URL:
    """A URL from a URL, a path to a SQLite file, or None for memory.

    Raises:
        StudyError: If the URL names no known database.
    """
    if storage is None:
        return make_url("sqlite://")
    if isinstance(storage, str) and "://" in storage:
        storage = _parsed(storage)
    if not isinstance(storage, str | Path | URL):
        raise StudyError(
            f"a storage must be a path, a database URL or None; got {storage!r}",
            "give a path to a file, such as 'study.db'",
        )
    if not isinstance(storage, URL):
        storage = URL.create("sqlite", database=str(Path(storage).expanduser()))
    if in_memory(storage) or storage.get_backend_name() != "sqlite":
        return storage
    # Absolute, because other processes run in other directories.
    return storage.set(database=str(Path(str(storage.database)).resolve()))


def _parsed(text: str) -> URL:
    try:
        url = make_url(text)
        url.get_dialect()
        if url.get_backend_name() not in ("sqlite", "postgresql"):
            raise ValueError
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        hidden = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", text)
        reason = "" if isinstance(error, ValueError) else f": {error}"
        raise StudyError(
            f"the storage {hidden!r} is not a database URL that can be used{reason}",
            "give a path to a file, sqlite:///study.db or postgresql+psycopg://user@host/name",
        ) from None
    return url


def masked(url: URL) -> str:
    """The URL as text without its password."""
    hidden = {key: "***" for key in _SECRETS if key in url.query}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def in_memory(url: URL) -> bool:
    """Whether the database ends with this process."""
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


def make_engine(url: URL, *, create: bool, read_only: bool) -> Engine:
    """An engine on a database, which is not looked at yet.

    Args:
        url: From ``storage_url``.
        create: Whether a SQLite file may be created.
        read_only: Whether nothing may be written, not even beside the file.

    Raises:
        StudyError: If the file is not there and may not be created, or has no directory.
    """
    if url.get_backend_name() != "sqlite":
        return _server_engine(url, read_only)
    if in_memory(url):
        return memory_engine()
    path = Path(str(url.database))
    if not path.is_file() or path.stat().st_size == 0:
        _require_creatable(path, create and not read_only)
    return _reading_engine(path) if read_only else _set_up(create_engine(url), reading=False)


def _server_engine(url: URL, read_only: bool) -> Engine:
    options = {"options": "-c default_transaction_read_only=on"} if read_only else {}
    try:
        engine = create_engine(url, pool_pre_ping=True, connect_args=options)
    except ModuleNotFoundError as error:
        raise StudyError(
            f"the storage {masked(url)} needs a package that is not installed: {error.name}",
            "pip install 'mixopt[postgres]'",
        ) from None
    event.listen(engine, "begin", clock.forget)
    return engine


def _require_creatable(path: Path, create: bool) -> None:
    if not create:
        raise StudyError(f"there is no study at {path}", "run one first, or name its storage")
    if not path.parent.is_dir():
        raise StudyError(
            f"the directory {path.parent} of the storage {path.name!r} does not exist",
            f"create it: mkdir -p {path.parent}",
        )


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Turn a driver's error into one sentence that names the storage."""
    try:
        yield
    except SQLAlchemyError as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        raise StorageError(
            f"the storage {masked(url)} refused: {' '.join(str(reason).split())}",
            "check that it is a database of mixopt, that it can be written, and that the disk "
            "has room",
        ) from error


@contextmanager
def transaction(engine: Engine, url: URL, patience: float) -> Iterator[Connection]:
    """One transaction on a database that has answered before.

    Args:
        engine: Its connections.
        url: To name it by.
        patience: Seconds for which it is waited for where it cannot be reached.

    Raises:
        StorageError: If it cannot be reached for that long, or is lost in the middle.
    """
    with translated(url), _connected(engine, url, patience) as connection, connection.begin():
        yield connection


def _connected(engine: Engine, url: URL, patience: float) -> Connection:
    # SQLite waits for its lock by itself.
    waits = engine.dialect.name != "sqlite"
    end, pause = time.monotonic() + patience, FIRST_PAUSE
    while True:
        try:
            return engine.connect()
        except OperationalError as error:
            if not waits or time.monotonic() + pause > end:
                raise
            if pause == FIRST_PAUSE:
                reason = " ".join(str(error.orig).split())
                _log.warning("the storage %s is away (%s): it is waited for", masked(url), reason)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def memory_engine() -> Engine:
    """An empty database in memory."""
    # One connection, which threads take in turn: another would see an empty database of its own.
    engine = create_engine(
        "sqlite://",
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        connect_args={"check_same_thread": False},
    )
    return _set_up(engine, reading=False)


def set_journal(engine: Engine, url: URL) -> None:
    """Let readers of a SQLite file go on while another process writes, where that is safe.

    The file keeps the setting, so it is made only once the file is known to be ours.
    """
    if url.get_backend_name() != "sqlite" or in_memory(url):
        return
    journal = "DELETE" if _on_network(Path(str(url.database))) else "WAL"
    connection = engine.raw_connection()
    try:
        connection.cursor().execute(f"PRAGMA journal_mode={journal}")
    finally:
        connection.close()


def _reading_engine(path: Path) -> Engine:
    """An engine that writes no file, wherever the database lies.

    A reader of a database in WAL mode makes its shared-memory file, and cannot in a folder that
    takes none, unless it is told that the file does not change. That holds while no writer has
    it open, for then there is a log beside it. So each transaction looks anew.
    """

    def connect() -> sqlite3.Connection:
        still = _in_wal_mode(path) and not path.with_name(f"{path.name}-wal").exists()
        uri = f"{path.as_uri()}?mode=ro{'&immutable=1' if still else ''}"
        return sqlite3.connect(uri, uri=True, check_same_thread=False)

    return _set_up(create_engine("sqlite://", creator=connect, poolclass=NullPool), reading=True)


def _in_wal_mode(path: Path) -> bool:
    with path.open("rb") as file:
        header = file.read(19)
    # https://www.sqlite.org/fileformat.html: the write version, 2 for WAL.
    return header[18:] == b"\x02"


def _set_up(engine: Engine, *, reading: bool) -> Engine:
    def connect(dbapi: Any, _record: Any) -> None:
        # The driver must not begin transactions itself: it would begin them without a lock.
        dbapi.isolation_level = None
        cursor = dbapi.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    def begin(connection: Connection) -> None:
        lockless = reading or connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if lockless else "BEGIN IMMEDIATE")
        clock.forget(connection)

    event.listen(engine, "connect", connect)
    event.listen(engine, "begin", begin)
    return engine


def _on_network(path: Path) -> bool:
    """Whether a file lies on a network filesystem; False where the system does not tell."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    kinds = {fields[1]: fields[2] for fields in map(str.split, mounts) if len(fields) > 2}
    target = os.path.realpath(path.parent)
    above = [m for m in kinds if target == m or target.startswith(m.rstrip("/") + "/")]
    kind = kinds[max(above, key=len)] if above else ""
    return kind.startswith(NETWORK_FILESYSTEMS)
