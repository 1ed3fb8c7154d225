"""A report's values, collected from a real study."""

import numpy as np
import pytest

import mixopt
from mixopt.report import report_data
from mixopt.space import Fidelity, SearchSpace
from mixopt.study import Study, TrialBudget


@pytest.fixture(scope="module")
def study() -> Study:
    space = SearchSpace(domains=["a", "b"], baseline="uniform", name="two")
    made = Study(
        "small",
        space,
        {"a": 0.25, "b": 0.75},
        fidelity=Fidelity(parameters=1000, tokens=10_000),
        storage=None,
        budget=TrialBudget(trials=8),
        initial=8,
    )
    for trial in made.ask():
        weights = trial.schedule.base
        values = {n: 2.0 + float(np.exp(-3 * weights.get(n, 0.0))) for n in ("a", "b")}
        made.tell(trial.id, values)
    return made


def test_report_data_of_a_study(study):
    data = report_data(study)
    assert data.name == "small"
    assert data.budget == {"trials": 8}
    assert len(data.trials) == 8
    assert (data.seed, data.version) == (study.seed, mixopt.__version__)
    assert [e.domain for e in data.responses.effects] == ["a", "b"]
    assert data.responses.ternary is None
    assert data.worth is None
    assert "at least two rungs" in data.no_worth
    frame = data.predictions
    assert list(frame["trial"]) == list(data.trials["trial"])
    assert np.allclose(frame["value"], data.trials["objective"])
    assert frame["observed"].all()
    assert (frame["low"] < frame["mean"]).all()
    assert (frame["mean"] < frame["high"]).all()
    # The metrics are smooth and free of noise, so even few trials predict them closely.
    assert np.corrcoef(frame["mean"], frame["value"])[0, 1] > 0.95
