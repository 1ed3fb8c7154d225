"""Arguments that cannot be used, from Python: a MixoptError that says what to give."""

import math

import numpy as np
import pytest

from mixopt import (
    CallableTrainer,
    CommandTrainer,
    Fidelity,
    Guardrail,
    LearningRate,
    Mixture,
    Objective,
    Phase,
    Schedule,
    SearchSpace,
    Study,
    TrialBudget,
)
from mixopt.analysis.critical_share import critical_of
from mixopt.analysis.fit_arguments import parse_weights
from mixopt.errors import MixoptError
from mixopt.export import export, read_schedule
from mixopt.study.transfer import parse_split

SPACE = SearchSpace(domains=["a", "b"], baseline="uniform")
HALF = {"a": 0.5, "b": 0.5}
TOLD = {"a": 1.0, "b": 1.0}


def study(**changes):
    given = {"space": SPACE, "objective": HALF, "storage": None, "name": "s", **changes}
    return Study(given.pop("name"), given.pop("space"), given.pop("objective"), **given)


@pytest.fixture(scope="module")
def asked():
    made = study()
    (trial,) = made.ask(1)
    return made, trial.id


ARRAY = np.array([0.1, 0.5, 0.9])
VALUES = {
    "mixture list": (lambda: Mixture([0.5, 0.5]), "must map domains to weights; got [0.5, 0.5]"),
    "mixture number": (lambda: Mixture(5), "got 5"),
    "mixture none": (lambda: Mixture(None), "got nothing"),
    "mixture empty": (lambda: Mixture({}), "has no domains"),
    "mixture text": (lambda: Mixture({"a": "x"}), "must be a number; got 'x'"),
    "mixture true": (lambda: Mixture({"a": True}), "must be a number; got True"),
    "mixture negative": (lambda: Mixture({"a": -1, "b": 2}), "must be at least 0; got -1"),
    "mixture nan": (lambda: Mixture({"a": math.nan}), "must be at least 0; got nan"),
    "mixture sum": (lambda: Mixture({"a": 0.4}), "must sum to 1; they sum to 0.4"),
    "amounts none": (lambda: Mixture.normalized({"a": 0}), "must have a positive sum"),
    "objective positional": (lambda: Objective({"a": 1}), "takes its values by name"),
    "objective sum": (lambda: Objective(weights={"a": 0.4}), "must sum to 1"),
    "objective true": (lambda: Objective(weights={"a": True}), "must be a number; got true"),
    "objective key": (lambda: Objective(weight={"a": 1}), "unknown key 'weight'"),
    "objective list": (lambda: Objective(weights=[1]), "a mapping of keys to values; got [1]"),
    "guardrail": (lambda: Guardrail(metric="a", slack=-1), "slack: must be at least 0; got -1"),
    "guardrail text": (lambda: Guardrail(metric=5), "metric: must be text; got 5"),
    "budget none": (TrialBudget, "a budget needs at least one of"),
    "budget positional": (lambda: TrialBudget(12), "takes its values by name"),
    "budget zero": (lambda: TrialBudget(trials=0), "must be greater than 0; got 0"),
    "budget part": (lambda: TrialBudget(trials=1.5), "must be a whole number; got 1.5"),
    "fidelity none": (Fidelity, "the key 'parameters' is required"),
    "fidelity text": (lambda: Fidelity(parameters="x", tokens=1), "a whole number; got 'x'"),
    "fidelity true": (lambda: Fidelity(parameters=True, tokens=1), "got true"),
    "rate sum": (lambda: LearningRate(warmup=0.7, decay=0.7), "must not sum to more than 1"),
    "rate shape": (lambda: LearningRate(shape="round"), "one of linear, cosine, sqrt"),
    "phase mixture": (lambda: Phase(mixture=5), "must map domains to weights; got 5"),
    "phase fraction": (lambda: Phase(mixture={"a": 1}, fraction=0), "must be greater than 0"),
    "schedule none": (lambda: Schedule(phases=[]), "needs at least one phase"),
    "schedule number": (lambda: Schedule(phases=5), "phases: must be a list; got 5"),
    "schedule static": (lambda: Schedule.static(5), "must map domains to weights; got 5"),
    "schedule two": (lambda: Schedule.two_phase({"a": 1}, {"b": 1}, 2), "must be greater than 0"),
    "space one": (lambda: SearchSpace(domains=["a"]), "must hold at least 2 entries, not 1"),
    "space none": (SearchSpace, "the key 'domains' is required"),
    "space natural": (lambda: SearchSpace(domains=["a", "b"]), "the tokens of every domain"),
    "space twice": (lambda: SearchSpace(domains=["a", "a"]), "['a'] stand twice"),
    "space file": (lambda: SearchSpace.from_yaml("/nowhere.yaml"), "cannot be read"),
    "timeout": (lambda: CommandTrainer("x", timeout=-1), "must be a number of seconds above 0"),
    "trainer": (lambda: CallableTrainer(5), "a trainer must be a function"),
    "study name": (lambda: study(name=""), "the name of a study"),
    "study number": (lambda: study(name=5), "the name of a study"),
    "study space": (lambda: study(space={"domains": ["a", "b"]}), "must be a SearchSpace"),
    "study space none": (lambda: study(space=None), "must be a SearchSpace"),
    "study objective": (lambda: study(objective=5), "must be an Objective, or a weight per"),
    "study objective sum": (lambda: study(objective={"a": 0.4}), "must sum to 1"),
    "study seed": (lambda: study(seed=-1), "seed: must be at least 0; got -1"),
    "study batch": (lambda: study(batch=0), "batch: must be greater than 0; got 0"),
    "study batch true": (lambda: study(batch=True), "batch: must be a number; got true"),
    "study initial": (lambda: study(initial="many"), "initial: must be a whole number"),
    "study replicates": (lambda: study(replicates="often"), "a whole number or auto"),
    "study budget": (lambda: study(budget=12), "budget: must be a mapping"),
    "study fidelity": (lambda: study(fidelity=5), "fidelity: must be a mapping"),
    "study fidelities": (lambda: study(fidelities=[5]), "must be a list of Fidelity"),
    "study mysql": (lambda: study(storage="mysql://u@h/d"), "not a database URL that can be used"),
    "study scheme": (lambda: study(storage="nope://"), "not a database URL that can be used"),
    "study storage": (lambda: study(storage=5), "a storage must be a path"),
    "study folder": (lambda: study(storage="/nowhere/x.db"), "does not exist"),
    "open": (lambda: Study.open("/nowhere.db"), "there is no study at"),
    "split": (lambda: parse_split(["a"]), "--split takes"),
    "split sum": (lambda: parse_split(["a=b:0.4"]), "--split takes"),
    "weights": (lambda: parse_weights(["a=1", "b"], "--x"), "takes NAME=WEIGHT; got 'b'"),
    "weights nan": (lambda: parse_weights(["a=nan"], "--x"), "takes NAME=WEIGHT"),
    "level": (lambda: critical_of(ARRAY, ARRAY, level=2), "must lie between 0 and 1; got 2"),
    "level zero": (lambda: critical_of(ARRAY, ARRAY, level=0), "must lie between 0 and 1; got 0"),
    "export": (lambda: export(Schedule.static(HALF), to="megatrn", out="/x", tokens=9), "megatrn"),
    "schedule file": (lambda: read_schedule("/nowhere.json"), "cannot be read"),
}
TELLS = {
    "none": (None, "must be told a value per metric; got nothing"),
    "text": ("x", "got 'x'"),
    "number": (5, "got 5"),
    "true": ({"a": True, "b": 1}, "must be a number; got true"),
    "null": ({"a": None, "b": 1}, "must be a number; got nothing"),
    "word": ({"a": "x", "b": 1}, "must be a number; got 'x'"),
    "nan": ({"a": math.nan, "b": 1}, "must be finite; got nan"),
    "missing": ({"a": 1}, "needs the metrics ['b']"),
    "empty": ({}, "needs the metrics ['a', 'b']"),
    "numbers": ([1, 2], "must be told observations; got 1"),
    "mappings": ([{"a": 1}], "must be told observations"),
}
CALLS = {
    "ask text": (lambda s: s.ask("2"), "a whole number of trials, at least one; got n = '2'"),
    "ask true": (lambda s: s.ask(True), "got n = True"),
    "ask part": (lambda s: s.ask(1.5), "got n = 1.5"),
    "ask zero": (lambda s: s.ask(0), "got n = 0"),
    "tell nobody": (lambda s: s.tell("zz", TOLD), "has no trial 'zz'"),
    "tell none": (lambda s: s.tell(None, TOLD), "has no trial None"),
    "fail nobody": (lambda s: s.fail("zz", "x"), "has no trial 'zz'"),
    "finish nobody": (lambda s: s.finish("zz"), "has no trial 'zz'"),
    "heartbeat": (lambda s: s.heartbeat("zz"), "holds no lease of trial 'zz'"),
    "requeue": (lambda s: s.requeue(["zz"]), "has no trial 'zz'"),
    "recommend": (lambda s: s.recommend(), "needs at least two finished ones"),
    "attach": (lambda s: s.attach({"a": 0.5}, TOLD), "must sum to 1"),
    "attach none": (lambda s: s.attach(None, TOLD), "must map domains to weights"),
    "attach values": (lambda s: s.attach(HALF, None), "must be told a value per metric"),
    "attach domain": (lambda s: s.attach({"a": 0.5, "c": 0.5}, TOLD), "unknown domains ['c']"),
    "inherit": (lambda s: s.inherit(study()), "no trial|finished"),
    "optimize": (lambda s: s.optimize(5), "a trainer must be a function"),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_that_cannot_be_used(name):
    call, says = VALUES[name]
    with pytest.raises(MixoptError) as caught:
        call()
    assert says in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("name", TELLS)
def test_a_result_that_cannot_be_used(name, asked):
    values, says = TELLS[name]
    with pytest.raises(MixoptError) as caught:
        asked[0].tell(asked[1], values)
    assert says in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_cannot_be_answered(name, asked):
    call, says = CALLS[name]
    with pytest.raises(MixoptError, match=says if "|" in says else None) as caught:
        call(asked[0])
    assert "|" in says or says in caught.value.message
    assert caught.value.hint
