"""A study whose trials differ in size and length."""

import json

import numpy as np
import pytest

from mixopt.errors import StudyError
from mixopt.space import Fidelity, Kind, SearchSpace
from mixopt.study import Study, TrialBudget
from mixopt.study.config import StudyConfig
from mixopt.study.storage.workers import this_host

NAMES = ("web", "code", "books")
BEST = np.array([0.6, 0.3, 0.1])
ENDED = f"{this_host()}:999999999:1"
CHEAP = Fidelity(parameters=10**6, tokens=10**8)
DEAR = Fidelity(parameters=10**7, tokens=10**9)


def train(schedule, fidelity, seed):
    """A bowl that is a little narrower for small models, above a law of size and length."""
    gap = schedule.exposure().to_array(NAMES) - BEST
    level = 1.5 + 0.5 * (fidelity.parameters / 1e6) ** -0.3 + 0.4 * (fidelity.tokens / 1e8) ** -0.3
    noise = 1e-3 * np.random.default_rng(seed).standard_normal()
    return {"loss": level + (1 + 0.1 * (fidelity == CHEAP)) * float(gap @ gap) + noise}


@pytest.fixture
def build(tmp_path):
    def make(**changes):
        settings = {"storage": tmp_path / "s.db", "initial": 9, "batch": 4}
        settings |= {"budget": TrialBudget(trials=17), "fidelities": (DEAR, CHEAP)} | changes
        space = settings.pop("space", SearchSpace(domains=NAMES, baseline="uniform"))
        return Study("demo", space, {"loss": 1.0}, **settings)

    return make


def tell_all(study, trials):
    for t in trials:
        study.tell(t.id, train(t.schedule, t.fidelity, t.seed))


def test_ask_and_tell_over_two_fidelities_and_a_restart(build):
    study = build()
    first = study.ask()
    dear = [t for t in first if t.fidelity == DEAR]
    assert len(first) == 9
    assert len(dear) == 3
    base = study.space.baseline_schedule
    assert {t.fidelity for t in first if t.schedule == base} == {CHEAP, DEAR}
    cheap = [t.schedule for t in first if t.fidelity == CHEAP]
    assert all(t.schedule in cheap for t in dear)

    tell_all(study, first)
    second = study.ask(worker=ENDED)
    assert 1 <= sum(t.fidelity == DEAR for t in second) < 4
    study = build()
    assert study.ask() == second
    tell_all(study, second)
    tell_all(study, study.ask())
    assert study.should_stop()

    found = study.recommend()
    assert found.target == DEAR
    true = train(found.schedule, DEAR, 0)["loss"]
    assert found.predicted.low <= true <= found.predicted.high
    top = {
        t.id: v["loss"]
        for t in (r.trial for r in study.records() if r.search)
        if t.fidelity == DEAR
        for v in [study.final_values()[t.id]]
    }
    assert found.best_observed.value == min(top.values())
    assert found.best_observed.fidelity == DEAR
    assert found.agreement[0].mixtures == 3
    assert any("the level there is known to" in note for note in found.notes)
    assert {t.fidelity for t in study.confirmation_trials(found)} == {DEAR}


def test_the_budget_counts_what_each_trial_costs(build):
    flops = 6 * CHEAP.flops + DEAR.flops
    study = build(budget=TrialBudget(flops=flops, trials=40))
    first = study.ask()
    assert sum(t.fidelity.flops for t in first) <= flops * (1 + 1e-9)
    assert sum(t.fidelity == DEAR for t in first) == 1
    tell_all(study, first)
    assert study.spent().flops == sum(t.fidelity.flops for t in first)
    assert study.should_stop()
    assert "flops is spent" in study.stop_reason


def test_the_budget_counts_flops_as_the_trainer_does(build):
    # Of the small size most is the unembedding, which 6ND leaves out.
    each = {CHEAP.parameters: 3e7, DEAR.parameters: 9e7}
    cheap, dear = (each[f.parameters] * f.tokens for f in (CHEAP, DEAR))
    study = build(budget=TrialBudget(flops=6 * cheap + dear), flops_per_token=each)
    first = study.ask()
    assert sum(t.fidelity == DEAR for t in first) == 1
    tell_all(study, first)
    assert study.spent().flops == pytest.approx(6 * cheap + dear)
    assert study.trials()["flops"].sum() == pytest.approx(6 * cheap + dear)
    assert study.should_stop()
    assert "flops is spent" in study.stop_reason


def test_a_dear_run_that_the_tokens_do_not_pay_for_is_made_cheaper(build):
    # Nine runs of the first round, three of them dear, and two cheap ones are left.
    tokens = 6 * CHEAP.tokens + 3 * DEAR.tokens + 2 * CHEAP.tokens
    study = build(budget=TrialBudget(tokens=tokens))
    tell_all(study, study.ask())
    assert not study.should_stop()
    last = study.ask()
    assert [t.fidelity for t in last] == [CHEAP, CHEAP]
    tell_all(study, last)
    assert study.should_stop()


def test_a_target_beyond_all_trials(build):
    far = Fidelity(parameters=10**8, tokens=10**10)
    space = SearchSpace(domains=NAMES, baseline="uniform", target=far)
    study = build(space=space, budget=TrialBudget(trials=9))
    tell_all(study, study.ask())
    found = study.recommend()
    assert found.target == far
    assert found.predicted.mean < found.best_observed.value
    assert found.predicted.sd > 0.02
    assert any("the target lies a factor of 10 beyond the highest" in n for n in found.notes)


def test_runs_attached_from_elsewhere_keep_their_fidelity(build):
    study = build(initial=4, budget=TrialBudget(trials=8))
    other = Fidelity(parameters=3 * 10**6, tokens=10**9)
    for w in (0.2, 0.4, 0.6, 0.8):
        weights = {"web": w, "code": 0.9 * (1 - w), "books": 0.1 * (1 - w)}
        schedule = SearchSpace(domains=NAMES, baseline=weights).baseline_schedule
        study.attach(weights, train(schedule, other, 1), fidelity=other)
    evidence, surrogate = study.learned()
    assert len(evidence) == 4
    assert surrogate.target == DEAR
    assert (evidence.Y[:, 0] < [study.final_values()[i]["loss"] for i in evidence.ids]).all()
    assert all(r.trial.kind == Kind.attached for r in study.records())


def test_one_fidelity_is_the_study_it_always_was(build):
    study = build(fidelities=(CHEAP,))
    assert study.fidelity == CHEAP
    assert study.config.fidelities == ()
    assert "fidelities" not in json.loads(study.config.text)
    assert StudyConfig.model_validate_json(study.config.text) == study.config
    assert {t.fidelity for t in study.ask()} == {CHEAP}


def test_fidelity_beside_fidelities_is_refused(build):
    with pytest.raises(StudyError, match="takes `fidelity` or `fidelities`; got 1,000,000 param"):
        build(fidelity=CHEAP)
    build()
    with pytest.raises(StudyError, match="stored with another configuration: fidelities"):
        build(fidelities=(CHEAP, Fidelity(parameters=10**7, tokens=2 * 10**9)))
