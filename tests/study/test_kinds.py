"""A study whose objective is an accuracy, from its trials to its confirmation runs."""

import math

import pytest

from mixopt import Fidelity, Guardrail, Metric, Objective, SearchSpace, Study, TrialBudget
from mixopt.errors import MixoptError
from mixopt.report.answer import answer_table
from mixopt.study.results.estimates import answer_of

SPACE = SearchSpace(domains=["web", "code"], baseline={"web": 0.8, "code": 0.2})
OBJECTIVE = Objective(
    weights={"quiz": 1.0},
    kinds={"quiz": Metric(kind="accuracy", n=500)},
    guardrails=(Guardrail(metric="web", slack=0.2),),
)


def train(schedule, fidelity, seed):
    del fidelity
    code = schedule.exposure()["code"]
    quiz = 1 / (1 + math.exp(1.5 - 2 * code)) + 0.001 * (seed % 3)
    return {"quiz": quiz, "web": 2 + 0.3 * code}


def test_an_accuracy_is_maximised_and_confirmed(tmp_path):
    where = {"storage": tmp_path / "s.db", "budget": TrialBudget(trials=5), "initial": 5}
    study = Study("quiz", SPACE, OBJECTIVE, confirm_seeds=2, **where)
    found = study.optimize(train, confirm=True)
    assert found.goal == "maximize"
    assert 0.2 < found.schedule.base["code"] < 0.95
    search = study.trials()
    assert found.best_observed.value <= search["objective"].max()
    assert (search["objective"] > 0).all()
    assert found.confirmed_difference.low > 0
    assert found.better_than_baseline
    answer = answer_of(found)
    assert answer.gain.value > 0
    assert "positive is better" in answer_table(answer).note
    again = Study("quiz", SPACE, OBJECTIVE, confirm_seeds=2, **where)
    assert again.objective == OBJECTIVE


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"objective": OBJECTIVE.model_copy(update={"scale": "baseline"})},
            "the scale is baseline",
        ),
        (
            {"fidelities": [Fidelity(parameters=n, tokens=10**6) for n in (1000, 2000)]},
            "losses alone are carried to another size or length; quiz is of kind accuracy",
        ),
        ({"laws": ["M5"]}, "a law must be one of M4"),
    ],
)
def test_what_a_study_cannot_compare_is_refused_before_it_begins(change, text):
    given = {"name": "x", "space": SPACE, "objective": OBJECTIVE, "storage": None, **change}
    with pytest.raises(MixoptError, match=text):
        Study(**given)
