"""Opening a database: what is refused, what is never written, and what is never shown."""

import os
import pickle
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from stored import rung, trial

from mixopt.errors import StudyError
from mixopt.space import Split
from mixopt.study.storage import Storage
from mixopt.study.storage.schema import SCHEMA_VERSION

NOBODY = 65534


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
    before = path.read_bytes()
    with pytest.raises(StudyError, match=r"not one of mixopt: it holds the tables \['recipes'\]"):
        Storage(path)
    assert path.read_bytes() == before


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


def test_opening_for_reading_creates_nothing(tmp_path):
    for how in ({"read_only": True}, {"create": False}, {"create": False, "read_only": True}):
        with pytest.raises(StudyError, match=r"there is no study at .*nowhere/a\.db"):
            Storage(tmp_path / "nowhere" / "a.db", **how)
        with pytest.raises(StudyError, match=r"there is no study at .*a\.db"):
            Storage(tmp_path / "a.db", **how)
    (tmp_path / "empty.db").touch()
    for how in ({"read_only": True}, {"create": False}):
        with pytest.raises(StudyError, match=r"there is no study at .*empty\.db"):
            Storage(tmp_path / "empty.db", **how)
    assert [p.name for p in tmp_path.iterdir()] == ["empty.db"]
    assert (tmp_path / "empty.db").stat().st_size == 0


def test_an_empty_server_is_not_written_by_reading(postgres_url):
    for how in ({"read_only": True}, {"create": False}):
        with pytest.raises(StudyError, match="is empty"):
            Storage(postgres_url, **how)


def filled(store):
    study = store.create_study("demo", "{}", "digest", "{}")
    store.add_trials(study, [trial("t0")])
    store.record(study, "t0", [rung("t0", 10, 4.0)], lease=None)
    return study


def test_reading_works_and_writing_is_refused(lasting, opened):
    writer = opened(lasting)
    study = filled(writer)
    reader = opened(lasting, read_only=True)
    assert reader.create_study("demo", "{}", "digest", "{}") == study
    assert reader.snapshot(study)[1] == {("t0", Split.validation): {"loss": 4.0}}
    for write in (
        lambda: reader.add_event(study, "note", {}),
        lambda: reader.lease(study, worker="host:1:1", seconds=60),
        lambda: reader.create_study("other", "{}", "digest", "{}"),
    ):
        with pytest.raises(StudyError, match=r"refused: .*read-?only"):
            write()
    # What is written meanwhile is seen.
    writer.record(study, "t0", [rung("t0", 20, 3.0)], lease=None)
    assert reader.snapshot(study)[1] == {("t0", Split.validation): {"loss": 3.0}}


@pytest.fixture
def shared_folder():
    """A folder that other users may enter, as they may not enter pytest's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def locked(folder):
    """The folder without the right to write into it, not even for root."""
    folder.chmod(0o555)
    if root := os.geteuid() == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_reading_leaves_a_folder_as_it_was(shared_folder):
    store = Storage(shared_folder / "study.db")
    study = filled(store)
    store.close()
    before = contents(shared_folder)
    assert set(before) == {"study.db"}

    def read():
        reader = Storage(shared_folder / "study.db", read_only=True)
        assert [r.trial.id for r in reader.trials(study)] == ["t0"]
        reader.close()

    read()
    with locked(shared_folder):
        read()
    assert contents(shared_folder) == before


def test_what_a_killed_writer_left_in_its_log_is_read_too(shared_folder):
    script = (
        "import os, sys; from mixopt.study.storage import Storage; s = Storage(sys.argv[1]);"
        "s.create_study('late', '{}', 'd', '{}'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, shared_folder / "study.db"], check=False)
    assert (shared_folder / "study.db-wal").stat().st_size > 0
    with locked(shared_folder):
        assert Storage(shared_folder / "study.db", read_only=True).study_names() == ["late"]


def test_a_copy_sent_to_another_process_opens_the_same_database(tmp_path):
    store = Storage(tmp_path / "a.db")
    study = filled(store)
    again = Storage(pickle.loads(pickle.dumps(store.address)))
    assert again.trials(study) == store.trials(study)


PASSWORD = "s3cr3t"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:1/name",
        f"postgresql+psycopg://127.0.0.1:1/name?user=me&password={PASSWORD}",
        f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:port/name",
        f"nosuch://me:{PASSWORD}@host/name",
        f"postgresql+psycopg://me:{PASSWORD}@a/b@127.0.0.1:1:1/name",
    ],
)
def test_a_password_is_in_no_error(url):
    with pytest.raises(StudyError) as caught:
        Storage(url)
    text = str(caught.value)
    assert "postgresql" in text or "nosuch" in text
    assert PASSWORD not in text
    assert "\n" not in caught.value.message


def test_a_password_is_in_no_text_of_a_storage(postgres_url, opened):
    assert ":hush@" in postgres_url
    store = opened(postgres_url)
    with pytest.raises(StudyError) as caught:
        store.require_study("none")
    for text in (store.url, repr(store), str(store), str(store.address), repr(store.address)):
        assert "hush" not in text
    assert "hush" not in str(caught.value)
    assert "://test:***@" in str(caught.value)
    assert opened(store.address).study_names() == []


def test_a_missing_driver_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StudyError, match=r"needs a package .*: psycopg\nhint: pip install"):
        Storage("postgresql+psycopg://host/name")


def test_importing_the_storage_loads_nothing_heavy():
    heavy = ("torch", "pandas", "botorch", "ray", "plotly", "alembic", "psycopg")
    script = (
        "import sys; from mixopt.study.storage import Storage; Storage(None);"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
