"""What notebooks show of values, and the report's figures one by one."""

import pytest
from plotly.graph_objects import Figure
from small_study import bowl

from mixopt.errors import StudyError
from mixopt.report.notebook import html_of
from mixopt.space import Objective, Schedule, SearchSpace
from mixopt.study import Study, TrialBudget

from .conftest import make_recommendation, make_space


def test_values_show_themselves_as_tables():
    space = make_space()
    shown = space._repr_html_()
    assert "<td>python</td>" in shown
    assert "2.6M" in shown
    answer = make_recommendation(space)
    assert answer.verdict.split(":")[0] in answer._repr_html_()
    assert "ending, last 20 %" in answer.schedule._repr_html_()
    assert "&lt;b&gt;" in Schedule.static({"<b>": 0.5, "web": 0.5})._repr_html_()
    with pytest.raises(TypeError, match="no table shows int"):
        html_of(3)


def test_a_recommendation_becomes_a_frame():
    answer = make_recommendation(make_space())
    frame = answer.to_frame()
    assert list(frame.columns) == ["base", "ending", "exposure", "epochs"]
    assert frame["exposure"].sum() == pytest.approx(1)
    assert frame.loc["stubs", "epochs"] == pytest.approx(answer.epochs["stubs"])


@pytest.fixture(scope="module")
def study():
    """A finished study of two phases."""
    space = SearchSpace(
        domains=("web", "code", "books"),
        baseline="uniform",
        phases=[{"name": "base"}, {"name": "ending", "fraction": [0, 0.2]}],
    )
    study = Study(
        "shown", space, Objective(weights={"loss": 1.0}), storage=None, initial=8, batch=2,
        budget=TrialBudget(trials=8),
    )  # fmt: skip
    assert "no trials yet" in study._repr_html_()
    with pytest.raises(StudyError, match="finished"):
        study.plot.history()
    for trial in study.ask():
        study.tell(trial.id, bowl(trial.schedule, trial.fidelity, trial.seed))
    return study


def test_a_study_shows_its_best_trials(study):
    shown = study._repr_html_()
    assert "Minimises 1 loss" in shown
    best = study.trials().nsmallest(1, "objective")["trial"].item()
    assert f"<td>{best}</td>" in shown


def test_figures_are_those_of_the_report(study):
    for name in ("history", "effects", "tradeoff", "predicted_observed", "map"):
        figure = getattr(study.plot, name)()
        assert isinstance(figure, Figure)
        assert figure.data


def test_a_map_takes_three_domains(study):
    figure = study.plot.map(domains=("web", "code", "books"))
    assert figure.layout.ternary.aaxis.title.text == "web"
    with pytest.raises(StudyError, match=r"a map needs three domains.*got web, cod"):
        study.plot.map(domains=("web", "cod"))
