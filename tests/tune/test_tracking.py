"""Trials of a run as runs of MLflow and W&B, without a network."""

import pytest
from stored import rung, trial

from mixopt.errors import StudyError
from mixopt.study import State, TrialRecord
from mixopt.tune import tracking
from mixopt.tune.tracking import Tracking, trackers


def ended(done, state):
    return TrialRecord(done, state, "", 1, 0, 0.0, 1.0)


class Book:
    """A tool that keeps everything in lists, and breaks when told."""

    def __init__(self):
        self.kept, self.broken = [], False

    def start(self, trial):
        self.kept.append(("start", trial.id))
        return trial.id

    def log(self, run, tokens, values):
        if self.broken:
            raise OSError("the server\nis away")
        self.kept.append((run, tokens, values))

    def end(self, run, well):
        self.kept.append((run, well))


def test_each_rung_is_kept_at_its_tokens_until_the_trial_ends():
    book = Book()
    kept = Tracking({"book": book}, print)
    kept.started(trial("t0"))
    rows = [rung("t0", 20, 3.0), rung("t0", 10, 4.0), rung("t0", 10, 5.0, "code")]
    kept.reached("t0", rows)
    # One that was never started here, by a driver that is restored say.
    kept.reached("t1", [rung("t1", 10, 1.0)])
    kept.ended(ended(trial("t1"), State.finished))
    kept.ended(ended(trial("t0"), State.finished))
    kept.started(trial("t2"))
    kept.ended(ended(trial("t2"), State.waiting))
    assert book.kept == [
        ("start", "t0"),
        ("t0", 10, {"loss": 4.0, "code": 5.0}),
        ("t0", 20, {"loss": 3.0}),
        ("t0", True),
        ("start", "t2"),
        ("t2", False),
    ]


def test_a_tool_that_fails_is_told_of_once_and_the_others_go_on():
    broken, whole, said = Book(), Book(), []
    broken.broken = True
    kept = Tracking({"broken": broken, "whole": whole}, said.append)
    kept.started(trial("t0"))
    for tokens in (10, 20):
        kept.reached("t0", [rung("t0", tokens, 3.0)])
    kept.ended(ended(trial("t0"), State.failed))
    assert said == ["broken keeps no more trials: OSError: the server is away"]
    assert [row[0] for row in whole.kept] == ["start", "t0", "t0", "t0"]
    assert whole.kept[-1] == ("t0", False)


def test_a_tool_that_is_missing_or_refuses_is_named_before_a_run(monkeypatch):
    def missing(_study):
        raise ModuleNotFoundError("no")

    def refuses(_study):
        raise ValueError("no key\nwas given")

    monkeypatch.setattr(tracking, "_KINDS", {"mlflow": missing, "wandb": refuses})
    with pytest.raises(StudyError, match="keeping trials in mlflow needs a package"):
        trackers(["mlflow"], "demo")
    with pytest.raises(StudyError, match="wandb cannot be used: no key was given"):
        trackers(["wandb"], "demo")


def one_trial(name):
    kept = Tracking(trackers([name], "demo"), pytest.fail)
    kept.started(trial("t0"))
    kept.reached("t0", [rung("t0", 10, 4.0), rung("t0", 20, 3.5)])
    kept.ended(ended(trial("t0"), State.finished))


@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_each_trial_with_its_weights_and_its_curve(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="pip install 'mixopt[mlflow]'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tmp_path.as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    one_trial("mlflow")
    one_trial("mlflow")
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("demo")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 2
    run = runs[0]
    assert (run.info.run_name, run.info.status) == ("t0", "FINISHED")
    (phase,) = trial("t0").schedule.phases
    assert float(run.data.params[f"{phase.name}.web"]) == pytest.approx(0.75)
    curve = client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in curve] == [(10, 4.0), (20, 3.5)]


@pytest.mark.filterwarnings("ignore")
def test_wandb_has_each_trial_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="pip install 'mixopt[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    one_trial("wandb")
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert (folder / f"run-{folder.name.split('-')[-1]}.wandb").stat().st_size > 0
