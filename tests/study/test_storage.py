import os
import sqlite3
import subprocess
import sys
import threading

import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from mixopt.errors import StudyError
from mixopt.space import Observation
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


def test_the_workers_of_a_killed_run_are_fenced_off(make):
    study = make()
    first, second = study.ask()[:2]
    old = study.store.claim(study.id)
    assert study.store.start(study.id, first.id, old)
    new = study.store.claim(study.id)
    with pytest.raises(StudyError, match="belongs to another run"):
        study.store.start(study.id, second.id, old)
    assert study.store.start(study.id, first.id, new)
    for late in (
        lambda: study.record(first.id, [], owner=old),
        lambda: study.fail(first.id, "late", owner=old),
    ):
        with pytest.raises(StudyError, match="belongs to another run"):
            late()


def test_starting_again_drops_what_an_unfinished_attempt_left(make):
    study = make()
    trial = study.ask()[0]
    study.store.start(study.id, trial.id, None)
    rung = [Observation(trial=trial.id, tokens=10, metric="loss", value=4.0)]
    study.record(trial.id, rung)
    assert study.store.start(study.id, trial.id, None)
    assert study.store.observations(study.id) == []
    study.record(trial.id, [rung[0].model_copy(update={"value": 4.5})])
    assert study.record_of(trial.id).attempts == 2


def test_a_finished_trial_is_never_started_again(make):
    study = make()
    trial = study.ask()[0]
    study.tell(trial.id, {"loss": 2.0})
    assert not study.store.start(study.id, trial.id, None)
    assert study.final_values() == {trial.id: {"loss": 2.0}}


def test_a_study_that_a_live_process_runs_is_refused(make):
    study = make()
    script = (
        "import sys; from mixopt.study import Study; s = Study.open(sys.argv[1]);"
        "s.store.claim(s.id); print('ready', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(study.store.url)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert holder.stdout.readline() == "ready\n"
    with pytest.raises(StudyError, match=f"is being run by process {holder.pid}"):
        study.store.claim(study.id)
    holder.kill()
    # Dead but not yet reaped: it holds nothing any more.
    holder.stdout.read()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    assert study.store.claim(study.id)
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
