"""Finished runs of other tools become trials of a study, or a sentence says why not."""

import numpy as np
import pandas as pd
import pytest

from mixopt.analysis.imported_runs import import_runs
from mixopt.errors import StudyError
from mixopt.space import SearchSpace
from mixopt.study import Study

WEIGHTS = [[0.2, 0.8], [0.5, 0.5], [0.7, 0.3], [0.9, 0.1]]
LOSSES = [2.0, 2.5, 3.0, 3.5]


@pytest.fixture
def study():
    space = SearchSpace(domains=["web", "code"], baseline="uniform")
    return Study("bought", space, {"loss": 1.0}, storage=None)


def learned(study):
    """Weight of web and objective of every trial."""
    state = study.state()
    return [(r.trial.schedule.base["web"], state.value_of(r)) for r in state.records]


def wanted(losses=LOSSES):
    return [pytest.approx((w, v)) for (w, _), v in zip(WEIGHTS, losses, strict=True)]


def frame(**more):
    web, code = zip(*WEIGHTS, strict=True)
    return pd.DataFrame({"run": list("abcd"), "web": web, "code": code, "loss": LOSSES, **more})


def test_a_table_is_attached_once(study, tmp_path):
    frame().to_csv(tmp_path / "runs.csv", index=False)
    done = import_runs(study, tmp_path / "runs.csv")
    assert (done.trials, done.new) == (tuple(f"import-{k}" for k in "abcd"), 4)
    assert learned(study) == wanted()
    assert import_runs(study, tmp_path / "runs.csv").new == 0
    assert len(study.state().learned_from) == 4


def test_parquet_with_other_names_and_raw_weights(study, tmp_path):
    table = frame().rename(columns={"web": "w/web", "code": "w/code", "loss": "web"})
    table[["w/web", "w/code"]] *= 30.0
    table.to_parquet(tmp_path / "runs.parquet")
    names = {"web": "w/web", "code": "w/code"}
    how = {"domain_columns": names, "metric_columns": {"loss": "web"}}
    with pytest.raises(StudyError, match="sum"):
        import_runs(study, tmp_path / "runs.parquet", **how)
    assert learned(study) == []
    import_runs(study, tmp_path / "runs.parquet", **how, normalise=True)
    assert learned(study) == wanted()


def test_what_wandb_exports(study, tmp_path):
    # The columns of a runs table's CSV export: the tool's own, then config and summary.
    table = frame().rename(columns={"run": "Name", "loss": "eval/loss"})
    table.insert(1, "State", ["finished", "finished", "crashed", "finished"])
    table["Runtime"], table["Tags"], table["_step"] = 100, "", 5
    table.to_csv(tmp_path / "export.csv", index=False)
    done = import_runs(study, tmp_path / "export.csv", metric_columns={"loss": "eval/loss"})
    assert done.unfinished == 1
    assert learned(study) == [wanted()[i] for i in (0, 1, 3)]


def test_what_mlflow_exports(study, tmp_path):
    # The columns of `mlflow experiments csv`.
    table = frame().rename(columns={n: f"params.{n}" for n in ("web", "code")})
    table = table.rename(columns={"run": "run_id", "loss": "metrics.loss"})
    table["status"], table["experiment_id"], table["artifact_uri"] = "FINISHED", 0, "mlruns/0"
    table["tags.mlflow.runName"] = "bold-bee"
    table.to_csv(tmp_path / "experiment.csv", index=False)
    assert import_runs(study, tmp_path / "experiment.csv").trials[0] == "import-a"
    assert learned(study) == wanted()


def test_an_optuna_storage(study, tmp_path):
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    old = optuna.create_study(study_name="old", storage=url)
    for (web, code), loss in zip(WEIGHTS, LOSSES, strict=True):
        # Weights before they are divided by their sum, as people often search them.
        trial = old.ask({n: optuna.distributions.FloatDistribution(0, 10) for n in ("web", "code")})
        trial.set_user_attr("share_web", web)
        trial.set_user_attr("share_code", code)
        old.tell(trial, loss)
    old.tell(old.ask(), state=optuna.trial.TrialState.FAIL)
    done = import_runs(
        study,
        url,
        optuna_study="old",
        domain_columns={"web": "share_web", "code": "share_code"},
        metric_columns={"loss": "value"},
    )
    assert done.unfinished == 1
    assert learned(study) == wanted()
    with pytest.raises(StudyError, match="'young' cannot be read"):
        import_runs(study, url, optuna_study="young")


def test_both_phases_of_a_schedule():
    phases = [{"name": "base"}, {"name": "ending", "fraction": [0, 0.2]}]
    made = {"domains": ["web", "code"], "phases": phases, "baseline": "uniform"}
    study = Study("two", SearchSpace.model_validate(made), {"loss": 1.0}, storage=None)
    web, code = zip(*WEIGHTS, strict=True)
    columns = {"base.web": web, "base.code": code, "ending.web": code, "ending.code": web}
    runs = pd.DataFrame({"run": list("abcd"), **columns, "fraction": [0.2, 0.2, 0.2, 0.0]})
    import_runs(study, runs.assign(loss=LOSSES))
    schedules = [r.trial.schedule for r in study.records()]
    assert [len(s.phases) for s in schedules] == [2, 2, 2, 1]
    assert schedules[0].ending["web"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("unit", "values", "losses"),
    [
        ("perplexity", np.exp(LOSSES), LOSSES),
        ("bits", np.array(LOSSES) / np.log(2), LOSSES),
        ("accuracy", [0.9, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4]),
        ("percent", [90, 80, 70, 60], [0.1, 0.2, 0.3, 0.4]),
        ("loss", [0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6]),
    ],
)
def test_a_unit_that_is_open_is_asked_for(unit, values, losses):
    space = SearchSpace(domains=["web", "code"], baseline="uniform")
    study = Study("units", space, {"reading": 1.0}, storage=None)
    runs = frame(reading=values).drop(columns="loss")
    if unit != "bits":
        open_unit = "whether less of 'reading' is better, and in which unit it is, must be said"
        with pytest.raises(StudyError, match=open_unit):
            import_runs(study, runs)
    import_runs(study, runs, units={"reading": unit})
    assert learned(study) == wanted(losses)


@pytest.mark.parametrize("name", ["eval_accuracy", "val/ppl", "mmlu-acc", "bits_per_byte"])
def test_a_name_that_speaks_of_another_unit_is_asked_about(study, name):
    runs = frame().rename(columns={"loss": name})
    with pytest.raises(StudyError, match=f"must be said: it is called '{name}'"):
        import_runs(study, runs, metric_columns={"loss": name})


@pytest.mark.parametrize(
    ("units", "text"),
    [
        ({"loss": "furlongs"}, "must be one of loss, bits, perplexity"),
        ({"loss": "accuracy"}, r"'loss' as accuracy must lie from 0 to 1; it is 2 to 3.5"),
        ({"other": "loss"}, "must hold the metrics loss, other; they lack other"),
    ],
)
def test_a_unit_that_does_not_fit_is_refused(study, units, text):
    with pytest.raises(StudyError, match=text):
        import_runs(study, frame(), units=units)
    assert learned(study) == []


def test_runs_of_another_size_are_refused_whole(study):
    with pytest.raises(StudyError, match="a study of one fidelity learns from runs of it alone"):
        import_runs(study, frame(parameters=[1e6, 1e6, 1e6, 2e6], tokens=[1e9] * 4))
    assert learned(study) == []
