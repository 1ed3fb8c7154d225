"""Opening a database: where it lies, how SQLite is set up, and whether it is one of ours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import StaticPool

from mixopt.errors import StudyError
from mixopt.study.storage.schema import SCHEMA_VERSION, metadata, schema_table

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


def storage_url(storage: str | Path | None) -> str:
    """A URL from a URL, a path to a SQLite file, or None for memory.

    Raises:
        StudyError: If the URL names no known database, or the file's directory is missing.
    """
    if storage is None:
        return "sqlite://"
    text = str(storage)
    if "://" not in text:
        text = f"sqlite:///{Path(text).expanduser().resolve()}"
    try:
        url = make_url(text)
        url.get_dialect()
    except (ArgumentError, NoSuchModuleError) as error:
        raise StudyError(
            f"the storage {text!r} is not a database URL that can be used: {error}",
            "give a path to a file, sqlite:///study.db or postgresql+psycopg://user@host/name",
        ) from None
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return text
    path = Path(url.database).resolve()
    if not path.parent.is_dir():
        raise StudyError(
            f"the directory {path.parent} of the storage {path.name!r} does not exist",
            f"create it: mkdir -p {path.parent}",
        )
    # Absolute, because Ray's workers run in other directories.
    return URL.create(url.drivername, database=str(path), query=url.query).render_as_string()


def open_engine(url: str) -> Engine:
    """An engine on a database that holds the current schema, created if it was empty.

    Raises:
        StudyError: If it cannot be opened, is not a mixopt database, or is from a newer version.
    """
    parsed = make_url(url)
    local = parsed.get_backend_name() == "sqlite"
    engine = _sqlite(parsed) if local else create_engine(parsed)
    with translated(url), engine.begin() as connection:
        _check_schema(connection, url)
    return engine


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn a driver's error into one sentence that names the storage."""
    try:
        yield
    except DBAPIError as error:
        raise StudyError(
            f"the storage {make_url(url).render_as_string()} refused: {error.orig}",
            "check that it is a database of mixopt, that it can be written, and that the disk "
            "has room",
        ) from error


def _sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        # One connection, shared: every other one would see an empty database of its own.
        engine = create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})
        journal = "MEMORY"
    else:
        engine = create_engine(url)
        journal = "DELETE" if _on_network(Path(url.database)) else "WAL"

    def connect(dbapi: Any, _record: Any) -> None:
        # The driver must not begin transactions itself: it would begin them without a lock.
        dbapi.isolation_level = None
        cursor = dbapi.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
        cursor.execute(f"PRAGMA journal_mode={journal}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    def begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

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


def _check_schema(connection: Connection, url: str) -> None:
    shown = make_url(url).render_as_string()
    tables = set(inspect(connection).get_table_names())
    if not tables:
        metadata.create_all(connection)
        connection.execute(insert(schema_table).values(version=SCHEMA_VERSION))
        return
    if schema_table.name not in tables:
        raise StudyError(
            f"{shown} is a database, but not one of mixopt: it holds the tables {sorted(tables)}",
            "give the study a storage of its own",
        )
    version = connection.execute(select(schema_table.c.version)).scalar_one()
    if version > SCHEMA_VERSION:
        raise StudyError(
            f"{shown} was written by a newer mixopt (schema {version}; this one knows "
            f"{SCHEMA_VERSION})",
            "upgrade mixopt: pip install -U mixopt",
        )
