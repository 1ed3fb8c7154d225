"""Databases of earlier releases: opened, upgraded in place, and read as they are."""

import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from mixopt.errors import StudyError
from mixopt.space import Split
from mixopt.study.storage import State, Storage
from mixopt.study.storage.schema import SCHEMA_VERSION
from mixopt.study.storage.upgrade import migrate

# A study as the first release wrote it: finished, failed, running and confirmation trials, and
# one that a scheduler stopped at half of its tokens, which counted as finished then.
FIRST = Path(__file__).with_name("study_v1.sql")
NAMES = (
    *(f"r00-t0{i}" for i in range(5)),
    "c01-recommendation-s0",
    "c01-baseline-s0",
    "a0000",
)


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(FIRST.read_text())
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    return path


@pytest.fixture
def old_server(postgres_url):
    """The same study on a server, in the tables that the first release made there."""
    engine = create_engine(postgres_url)
    with engine.begin() as c:
        migrate(c, 0, 1)
        c.execute(text("DROP TABLE alembic_version"))
        lines = FIRST.read_text().splitlines()
        for table in ("study", "trial", "observation", "event"):
            for line in lines:
                if line.startswith(f'INSERT INTO "{table}"'):
                    c.exec_driver_sql(line)
        c.execute(text("SELECT setval('study_id_seq', 9), setval('event_id_seq', 9)"))
    engine.dispose()
    return postgres_url


@pytest.fixture(params=["old", "old_server"])
def first(request):
    return request.getfixturevalue(request.param)


def require_all(store):
    records = {r.trial.id: r for r in store.trials(1)}
    assert tuple(records) == NAMES
    states = [r.state for r in records.values()]
    assert states == [
        State.finished,
        State.finished,
        State.ended_early,
        State.failed,
        State.waiting,
        State.finished,
        State.waiting,
        State.finished,
    ]
    assert records["r00-t03"].reason == "the shard of web is missing"
    assert (records["r00-t00"].attempts, records["r00-t00"].worker) == (1, None)
    last = store.snapshot(1)[1]
    assert last["r00-t01", Split.validation] == {"loss": 2.1 + 1 / 7}
    assert last["c01-recommendation-s0", Split.confirmation] == {"loss": 2.05}
    assert len(store.observations(1)) == 8
    assert [e["tokens"] for e in store.snapshot(1)[2] if e["kind"] == "cost"] == [5]
    assert store.study("old").config_hash == store.require_study(None).config_hash


def test_an_old_database_is_upgraded_where_it_lies(first, opened):
    store = opened(first)
    require_all(store)
    found = store.lease(1, worker="elsewhere:1:1", seconds=60)
    assert [(r.trial.id, r.attempts) for r, _ in found] == [("r00-t04", 2)]
    assert store.create_study("new", "{}", "d", "{}") != 1
    store.close()
    again = opened(first, create=False)
    assert again.trial(1, "r00-t04").state == State.running


def test_two_that_open_an_old_database_at_once_upgrade_it_once(first, opened):
    stores, problems = [], []

    def open_it():
        try:
            stores.append(opened(first))
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    for store in stores:
        require_all(store)


def test_an_old_file_is_read_without_being_changed(old):
    before = old.read_bytes()
    require_all(Storage(old, read_only=True))
    assert old.read_bytes() == before
    assert [p.name for p in old.parent.iterdir()] == ["old.db"]


def test_an_old_server_is_not_upgraded_by_reading(old_server):
    with pytest.raises(StudyError, match=r"an older mixopt \(schema 1; this one reads 4\)"):
        Storage(old_server, read_only=True)


def test_a_migration_that_fails_leaves_the_file_as_it_was(old, monkeypatch):
    monkeypatch.setattr("alembic.op.create_index", None)
    with pytest.raises(TypeError):
        Storage(old)
    monkeypatch.undo()
    with sqlite3.connect(old) as connection:
        assert connection.execute("SELECT version FROM mixopt_schema").fetchall() == [(1,)]
        columns = connection.execute("SELECT name FROM pragma_table_info('study')").fetchall()
    connection.close()
    assert ("owner_host",) in columns
    require_all(Storage(old))


def schema(url):
    """Tables, columns, keys and indexes, without what has no meaning."""
    engine = create_engine(url)
    look = inspect(engine)
    found = {}
    for table in look.get_table_names():
        columns = {
            c["name"]: (str(c["type"]), c["nullable"], c["default"])
            for c in look.get_columns(table)
        }
        found[table] = (
            columns,
            look.get_pk_constraint(table)["constrained_columns"],
            sorted(
                (k["constrained_columns"], k["referred_table"])
                for k in look.get_foreign_keys(table)
            ),
            sorted((i["name"], i["column_names"], i["unique"]) for i in look.get_indexes(table)),
            sorted(u["column_names"] for u in look.get_unique_constraints(table)),
        )
    with engine.begin() as c:
        versions = [
            c.execute(text(query)).all()
            for query in ("SELECT * FROM mixopt_schema", "SELECT * FROM alembic_version")
        ]
    engine.dispose()
    return found, versions


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_new_database_is_what_the_migrations_make(kind, tmp_path, request, postgres_url):
    if kind == "sqlite":
        new, migrated = (f"sqlite:///{tmp_path / name}.db" for name in ("new", "migrated"))
    else:
        new, migrated = postgres_url, request.getfixturevalue("another_postgres_url")
    Storage(new).close()
    engine = create_engine(migrated)
    with engine.begin() as c:
        migrate(c, 0)
    engine.dispose()
    assert schema(migrated) == schema(new)
    assert schema(new)[1] == [[(SCHEMA_VERSION,)], [(str(SCHEMA_VERSION),)]]
