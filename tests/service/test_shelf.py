"""Looking after studies at the shell, on a storage and on a service, and moving whole studies."""

import csv
import io
import json
import subprocess
import sys

import pandas as pd
import pytest
from served import STUDY
from small_study import NAMES

from mixopt.analysis.imported_runs import import_runs
from mixopt.cli import main
from mixopt.errors import ConflictError, StudyError
from mixopt.service import client
from mixopt.service.client import Service
from mixopt.service.served_file import make_study
from mixopt.service.shelf import LocalShelf, ServedShelf, import_study
from mixopt.study import State, Storage, Study
from mixopt.tune.study_file import StudyFile


@pytest.fixture
def local(file_url):
    """A study with a finished, a running and a waiting trial."""
    file = StudyFile.model_validate({**STUDY, "trainer": {"kind": "external"}})
    store = Storage(file_url)
    study = make_study(file, store)
    first, _ = study.ask(2, worker="gone:1:1")
    study.tell(first.id, {"loss": 2.5})
    yield study
    store.close()


@pytest.fixture(params=["storage", "service"])
def shelf(request, local, serve, file_url):
    if request.param == "storage":
        return LocalShelf(local.store)
    return ServedShelf(Service(serve(file_url)))


@pytest.fixture
def call(capsys, file_url):
    def run(*words):
        with pytest.raises(SystemExit) as end:
            main([*map(str, words), "--storage", file_url])
        return end.value.code or 0, capsys.readouterr()

    return run


def test_a_storage_and_a_service_are_looked_after_alike(shelf):
    (row,) = shelf.studies()
    assert (row["name"], row["trials"]) == ("demo", {"finished": 1, "running": 1, "waiting": 4})
    assert shelf.info("demo").config.objective.weights == {"loss": 1.0}
    found = [(record.state, value) for record, value in shelf.trials("demo")]
    assert found[:2] == [(State.finished, 2.5), (State.running, None)]
    shelf.archive("demo", True)
    assert shelf.info("demo").archived is not None
    shelf.archive("demo", False)
    assert shelf.info("demo").archived is None
    shelf.delete("demo")
    assert shelf.studies() == []


@pytest.mark.usefixtures("local")
def test_the_verbs_print_tables_json_and_csv(call):
    assert "demo" in call("study", "list")[1].out
    rows = list(csv.DictReader(io.StringIO(call("study", "trials", "demo", "--csv")[1].out)))
    assert [r["state"] for r in rows] == ["finished", "running", *["waiting"] * 4]
    assert [r["objective"] for r in rows] == ["2.5", *[""] * 5]
    assert (
        json.loads(call("study", "trials", "demo", "--json")[1].out)[0]["trial"]["id"] == "r00-t00"
    )
    assert "waiting: 4" in call("study", "status", "demo")[1].out
    assert json.loads(call("study", "show", "demo")[1].out)["settings"]["batch"] == 4
    assert call("study", "archive", "demo")[0] == 0
    code, said = call("study", "delete", "demo")
    assert code == 1
    assert "cannot be undone" in said.err
    assert call("study", "delete", "demo", "--yes")[0] == 0
    code, said = call("study", "status", "demo")
    assert (code, "must hold the study 'demo'" in said.err) == (1, True)


def test_a_study_moves_as_one_file_between_databases(local, lasting, tmp_path):
    path = tmp_path / "one.db"
    LocalShelf(local.store).export("demo", path)
    assert import_study(path, lasting, None) == "demo"
    moved = Study.open(lasting, "demo")
    assert moved.config == local.config
    states = [r.state for r in moved.records()]
    # What ran there runs nowhere here.
    assert states == [State.finished, *[State.waiting] * 5]
    assert moved.final_values() == local.final_values()
    assert moved.ask(1)[0].id == "r00-t01"
    with pytest.raises(ConflictError, match="has a study 'demo' already"):
        import_study(path, lasting, None)
    assert import_study(path, lasting, "again") == "again"
    moved.store.close()


def test_a_served_study_is_fetched_as_one_file(local, serve, file_url, tmp_path):
    shelf, path = ServedShelf(Service(serve(file_url))), tmp_path / "one.db"
    shelf.export("demo", path)
    fetched = Study.open(path)
    assert fetched.config == local.config
    assert fetched.final_values() == local.final_values()
    fetched.store.close()
    with pytest.raises(ConflictError, match=r"a file .* already"):
        shelf.export("demo", path)


@pytest.mark.usefixtures("local")
def test_finished_runs_go_into_a_served_study_once(serve, file_url, monkeypatch):
    monkeypatch.setattr(client, "RUNS", 2)
    study = Service(serve(file_url)).study("demo")
    shares = [[0.2, 0.5, 0.3], [0.5, 0.2, 0.3], [0.1, 0.1, 0.8]]
    runs = pd.DataFrame(shares, columns=list(NAMES)).assign(run=list("abc"), loss=[3.0, 2.0, 1.0])
    assert [import_runs(study, runs).new for _ in range(2)] == [3, 0]
    found = {r.trial.id: (r.state, value) for r, value in study.trials() if not r.search}
    values = {"import-a": 3.0, "import-b": 2.0, "import-c": 1.0}
    assert found == {name: (State.finished, value) for name, value in values.items()}
    with pytest.raises(ConflictError, match="import-a"):
        import_runs(study, runs.assign(loss=2.5))
    with pytest.raises(StudyError, match="one fidelity"):
        import_runs(study, runs.assign(parameters=5e6, tokens=7e9, run=list("def")))


def test_the_client_needs_no_server():
    heavy = "('fastapi', 'uvicorn', 'torch')"
    code = f"import sys, mixopt.service.client; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
