"""Bringing a database to the current schema: made when empty, migrated when old."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, insert, inspect, select, text, update
from sqlalchemy.engine import URL

from mixopt.errors import StudyError
from mixopt.study.storage.engine import (
    make_engine,
    masked,
    memory_engine,
    set_journal,
    translated,
)
from mixopt.study.storage.schema import (
    SCHEMA_VERSION,
    alembic_table,
    metadata,
    schema_table,
)

# Any number that nobody else takes: PostgreSQL's lock on making and migrating the tables.
_ADVISORY_LOCK = 7_203_641_955


def open_database(url: URL, *, create: bool, read_only: bool) -> Engine:
    """An engine on a database that holds the current schema.

    Args:
        url: From ``storage_url``.
        create: Whether a file or tables that are not there are made.
        read_only: Whether nothing may be written; an old SQLite file is then migrated in memory.

    Raises:
        StudyError: If the database cannot be opened, is not one of mixopt, is from a newer
            version, is not there and may not be made, or is old and cannot be migrated here.
    """
    with translated(url):
        engine = make_engine(url, create=create, read_only=read_only)
        try:
            return _ready(engine, url, create=create, read_only=read_only)
        except BaseException:
            engine.dispose()
            raise


def _ready(engine: Engine, url: URL, *, create: bool, read_only: bool) -> Engine:
    with engine.execution_options(reading=True).begin() as c:
        version = _version(c, url)
    if version is None and (read_only or not create):
        raise StudyError(f"the storage {masked(url)} is empty", "run a study on this storage first")
    if not read_only:
        set_journal(engine, url)
    if version == SCHEMA_VERSION:
        return engine
    if not read_only:
        with engine.begin() as c:
            _make_or_migrate(c, url)
        return engine
    if url.get_backend_name() != "sqlite":
        raise StudyError(
            f"the storage {masked(url)} was written by an older mixopt (schema {version}; this "
            f"one reads {SCHEMA_VERSION})",
            "run the study's command once: it upgrades the storage",
        )
    return _migrated_copy(engine, url)


def _version(c: Connection, url: URL) -> int | None:
    """The version of the schema; None for a database without tables."""
    tables = set(inspect(c).get_table_names())
    if not tables:
        return None
    if schema_table.name not in tables:
        raise StudyError(
            f"{masked(url)} is a database, but not one of mixopt: it holds the tables "
            f"{sorted(tables)}",
            "give the study a storage of its own",
        )
    version = int(c.execute(select(schema_table.c.version)).scalar_one())
    if version > SCHEMA_VERSION:
        raise StudyError(
            f"{masked(url)} was written by a newer mixopt (schema {version}; this one knows "
            f"{SCHEMA_VERSION})",
            "upgrade mixopt: pip install -U mixopt",
        )
    return version


def _make_or_migrate(c: Connection, url: URL) -> None:
    # Whoever comes second finds the work done. SQLite has locked the file already.
    if c.dialect.name == "postgresql":
        c.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    version = _version(c, url)
    if version is None:
        metadata.create_all(c)
        c.execute(insert(schema_table).values(version=SCHEMA_VERSION))
        c.execute(insert(alembic_table).values(version_num=str(SCHEMA_VERSION)))
    elif version < SCHEMA_VERSION:
        migrate(c, version)


def migrate(c: Connection, version: int, target: int = SCHEMA_VERSION) -> None:
    """Run the migrations from a version of the schema on; all or none, in the transaction."""
    # Only an old file needs Alembic, whose import takes longer than opening a storage.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = c
    if version == 1 and not inspect(c).has_table(alembic_table.name):
        command.stamp(config, "1")
    command.upgrade(config, str(target))
    c.execute(update(schema_table).values(version=target))


def _migrated_copy(engine: Engine, url: URL) -> Engine:
    """An old SQLite database, read into memory and migrated there."""
    memory = memory_engine()
    source, copy = engine.raw_connection(), memory.raw_connection()
    try:
        source.driver_connection.backup(copy.driver_connection)  # type: ignore[union-attr]
    finally:
        source.close()
        copy.close()
    engine.dispose()
    with memory.begin() as c:
        _make_or_migrate(c, url)
    return memory
