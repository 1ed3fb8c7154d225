import sqlite3
import threading

import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from mixopt.errors import StudyError
from mixopt.study import Storage
from mixopt.study.storage.schema import SCHEMA_VERSION, metadata


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(
        StudyError, match=r"directory .*nowhere of the storage 'a.db' does not exist"
    ):
        Storage(tmp_path / "nowhere" / "a.db")


def test_an_unknown_database_is_refused():
    with pytest.raises(StudyError, match="'nosuch://x' is not a database URL"):
        Storage("nosuch://x")


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "notes.db"
    path.write_text("just some notes, nothing of a database " * 40)
    with pytest.raises(StudyError, match="file is not a database"):
        Storage(path)
    assert path.read_text().startswith("just some notes")


def test_somebody_elses_database_is_refused(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (id INTEGER)")
    connection.close()
    with pytest.raises(StudyError, match=r"not one of mixopt: it holds the tables \['recipes'\]"):
        Storage(path)


def test_a_newer_schema_is_refused(tmp_path):
    path = tmp_path / "new.db"
    Storage(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE mixopt_schema SET version = version + 1")
    connection.close()
    with pytest.raises(StudyError, match=rf"newer mixopt \(schema {SCHEMA_VERSION + 1}"):
        Storage(path)


def test_sqlite_is_set_up_for_many_processes(tmp_path):
    Storage(tmp_path / "a.db").close()
    with sqlite3.connect(tmp_path / "a.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_the_tables_are_sql_that_postgres_takes_too():
    for table in metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=postgresql.dialect()))


def test_a_round_is_stored_once_however_many_processes_propose_it(make, tmp_path):
    make()
    trials = make(storage=tmp_path / "twin.db").ask()
    stores = [Storage(tmp_path / "study.db") for _ in range(6)]
    added = []
    threads = [
        threading.Thread(target=lambda s=s: added.append(s.add_trials(1, trials))) for s in stores
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(added) == [False] * 5 + [True]
    assert [r.trial for r in make().records()] == trials
