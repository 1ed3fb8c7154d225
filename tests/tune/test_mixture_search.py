import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher

from mixopt.errors import MixoptError
from mixopt.space import SearchSpace
from mixopt.study import Study, TrialBudget
from mixopt.tune import EarlyStop, MixtureSearch, schedule_of
from mixopt.tune.session import ray_session

SPACE = SearchSpace(domains=("web", "code"), baseline="uniform")


@pytest.fixture
def study(make):
    return make(space=SPACE, budget=TrialBudget(trials=4), initial=4)


def suggested(searcher, name):
    """What is suggested once the proposals made beside are there."""
    deadline = time.monotonic() + 60
    while (found := searcher.suggest(name)) is None:
        assert time.monotonic() < deadline
    return found


def test_a_round_is_handed_out_once_and_told_back(study):
    searcher = MixtureSearch(study)
    configs = {name: suggested(searcher, name) for name in "abcd"}
    assert [c["trial"] for c in configs.values()] == [f"r00-t{i:02d}" for i in range(4)]
    assert searcher.suggest("e") is None
    searcher.on_trial_complete("a", result={"loss": 2.5, "extra": 1})
    searcher.on_trial_complete("b", error=True)
    searcher.on_trial_complete("c", result={"other": 1.0})
    searcher.on_trial_complete("d", result={"loss": float("nan")})
    searcher.on_trial_complete("unknown", result={"loss": 1.0})
    states = {r.trial.id: (str(r.state), r.reason) for r in study.records()}
    assert states["r00-t00"] == ("finished", "")
    assert states["r00-t01"] == ("failed", "Tune reported an error")
    assert states["r00-t02"] == ("failed", "it reported nothing")
    assert "is not finite: nan" in states["r00-t03"][1]
    assert suggested(searcher, "e") == Searcher.FINISHED
    assert schedule_of(configs["a"]) == study.records()[0].trial.schedule


def test_a_trial_that_is_stopped_below_its_tokens_has_ended_early(study):
    searcher = MixtureSearch(study)
    for name in "abc":
        suggested(searcher, name)
    size = study.fidelity.tokens
    for name, last in (("a", size), ("b", size // 2)):
        searcher.on_trial_result(name, {"loss": 3.0, "tokens": size // 4})
        searcher.on_trial_result(name, {"loss": 2.5, "tokens": last})
        searcher.on_trial_complete(name, result={"loss": 2.5, "tokens": last})
    # Without tokens nobody knows whether a trial went on to its end.
    for loss in (3.0, 2.5):
        searcher.on_trial_result("c", {"loss": loss})
    searcher.on_trial_complete("c", result={"loss": 2.5})
    states = [(str(r.state), r.reason) for r in study.records()]
    assert states[:2] == [("finished", ""), ("ended_early", "")]
    assert states[2][0] == "failed"
    assert "several results without `tokens`" in states[2][1]
    assert len(study.observations()) == 4


class Tuned:
    """A trial of Tune, as a scheduler sees it."""

    def __init__(self, config):
        self.config = config


def test_the_scheduler_stops_what_cannot_become_the_best(make):
    study = make(space=SPACE, budget=TrialBudget(trials=7), initial=7)
    searcher, said = MixtureSearch(study), []
    early, size = EarlyStop(study, said.append), study.fidelity.tokens
    for better, name in enumerate("abcdef"):
        trial = Tuned(suggested(searcher, name))
        for share in (2, 1):
            result = {"loss": 3 - 0.1 * better + share / 5, "tokens": size // share}
            assert early.on_trial_result(None, trial, result) == "CONTINUE"
            searcher.on_trial_result(name, result)
        searcher.on_trial_complete(name, result=result)
    bad = Tuned(suggested(searcher, "g"))
    for tokens in ({}, {"tokens": size // 4}, {"tokens": size}):
        assert early.on_trial_result(None, bad, {"loss": 9.0, **tokens}) == "CONTINUE"
    assert early.on_trial_result(None, bad, {"other": 9.0, "tokens": size // 2}) == "CONTINUE"
    last = {"loss": 9.0, "tokens": size // 2}
    assert early.on_trial_result(None, bad, last) == "STOP"
    assert said[0].startswith("r00-t06 ends early: its chance to end better than ")
    searcher.on_trial_complete("g", result=last)
    assert study.state().early_ends.keys() == {"r00-t06"}
    assert isinstance(pickle.loads(pickle.dumps(early)), EarlyStop)
    with pytest.raises(MixoptError, match="the trials that MixtureSearch proposes"):
        early.on_trial_result(None, Tuned({}), last)


def test_a_param_space_beside_the_study_is_refused(study):
    searcher = MixtureSearch(study)
    with pytest.raises(MixoptError, match=r"param_space of its own: \['lr'\]"):
        searcher.set_search_properties("loss", "min", {"lr": 0.1})
    assert not searcher.set_search_properties("loss", "max", {})
    assert searcher.set_search_properties(None, None, {})


def test_a_restored_search_goes_on_with_what_tune_runs(study, tmp_path):
    searcher = MixtureSearch(study)
    configs = {name: suggested(searcher, name) for name in "ab"}
    searcher.on_trial_complete("a", result={"loss": 2.5})
    searcher.save(str(tmp_path / "state"))
    lost = suggested(searcher, "c")
    # The process dies: a pickle and a file are left of it.
    packed = pickle.dumps(searcher)
    for name in (configs["b"]["trial"], lost["trial"]):
        study.release(name)
    again = pickle.loads(packed)
    again.restore(str(tmp_path / "state"))
    # What Tune runs again is not handed out a second time; what it has forgotten is.
    named = [suggested(again, name)["trial"] for name in "xy"]
    assert named == [lost["trial"], "r00-t03"]
    again.on_trial_complete("b", result={"loss": 2.4})
    # Tune's own results tell which trial they are of.
    again.on_trial_complete("a", result={"loss": 2.5, "config": configs["a"]})
    states = {r.trial.id: str(r.state) for r in study.records()}
    assert states == {"r00-t00": "finished", "r00-t01": "finished", "r00-t02": "running",
                      "r00-t03": "running"}  # fmt: skip


def test_a_study_that_rolls_gives_a_trial_per_free_slot(make):
    study = make(space=SPACE, budget=TrialBudget(trials=6), initial=3, batch="rolling")
    searcher = MixtureSearch(study)
    for name in "abc":
        suggested(searcher, name)
    searcher.on_trial_complete("a", result={"loss": 2.5})
    # Too little is known yet: two of three, three quarters rounded down.
    assert all(searcher.suggest("d") is None for _ in range(50))
    searcher.on_trial_complete("b", result={"loss": 2.3})
    fourth = suggested(searcher, "d")
    assert fourth["trial"] == "r01-t00"
    assert [str(r.state) for r in study.records()][2:] == ["running", "running"]
    for name in "cdef":
        suggested(searcher, name) if name in "ef" else None
        searcher.on_trial_complete(name, result={"loss": 2.4})
    assert suggested(searcher, "g") == Searcher.FINISHED
    assert len({str(r.trial.schedule) for r in study.records()}) == 6


@pytest.mark.slow
def test_the_example_with_a_tuner_of_ones_own(tmp_path):
    path = Path(__file__).parents[2] / "examples" / "own_tuner.py"
    # A Ray of its own, whatever else runs on this machine.
    given = {**os.environ, "RAY_ADDRESS": "local"}
    done = subprocess.run(
        [sys.executable, path, tmp_path], capture_output=True, text=True, check=False, env=given
    )
    assert done.returncode == 0, done.stderr
    assert "the best mixture" in done.stdout
    records = Study.open(tmp_path / "study.db").records()
    assert len(records) == 12
    assert {str(r.state) for r in records} <= {"finished", "ended_early"}


@pytest.mark.slow
def test_a_scheduler_that_stops_trials_early_does_not_mislead(make, tmp_path):
    best = 0.31

    def early(config, web):
        # Mostly luck, so that what a scheduler keeps lies anywhere.
        return config["seed"] % 97 / 97 - 2 + 0.2 * (web - 0.89) ** 2

    def misleading(config):
        """Lower at first than at the end, and then lowest elsewhere."""
        web = config["schedule"]["phases"][-1]["mixture"].get("web", 0.0)
        total = config["fidelity"]["tokens"]
        for done in (0.25, 0.5, 1.0):
            value = early(config, web) if done < 1 else (web - best) ** 2
            tune.report({"loss": 3 + value, "tokens": int(done * total)})

    study = make(space=SPACE, budget=TrialBudget(trials=14), initial=14)
    total = study.fidelity.tokens
    asha = ASHAScheduler(
        time_attr="tokens",
        metric="loss",
        mode="min",
        grace_period=total // 4,
        max_t=total,
        reduction_factor=2,
    )
    with ray_session():
        tune.Tuner(
            misleading,
            tune_config=tune.TuneConfig(
                search_alg=MixtureSearch(study),
                scheduler=asha,
                num_samples=-1,
                max_concurrent_trials=2,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
        ).fit()
    states = [str(r.state) for r in study.records()]
    assert set(states) == {"finished", "ended_early"}
    # Each value that is learned from is one at the trial's own tokens.
    assert all(v["loss"] >= 3 for v in study.final_values().values())
    found = study.recommend()
    assert found.schedule.base["web"] == pytest.approx(best, abs=0.2)
    assert any("ended before their last token" in note for note in found.notes)
