"""A worker: it runs what it is given, stops when told to, and gives back what it had."""

import os
import signal
import sys
import threading
from contextlib import closing

import pytest
import yaml
from served import STUDY

from mixopt.errors import StudyError
from mixopt.service.client import Service, connect
from mixopt.service.run_on_ray import Server, run_served
from mixopt.service.worker import work
from mixopt.study import CallableTrainer, CommandTrainer, State
from mixopt.tune.job import Job


def quiet(_):
    """Say nothing."""


def flat(_schedule, _fidelity, _seed):
    return {"loss": 2.0}


def test_a_worker_runs_so_many_trials(study):
    said = []
    assert work(study, CallableTrainer(flat), say=said.append, most=2) == "ran 2 trials"
    assert said == ["r00-t00: finished", "r00-t01: finished"]
    assert [r.state for r in study.records()][:3] == [State.finished] * 2 + [State.waiting]


def test_a_worker_ends_with_the_search(http):
    study = Service(http).create({**STUDY, "budget": {"trials": 2}, "initial": 2})
    why = work(study, CallableTrainer(flat), say=quiet)
    assert why == "the budget of 2 trials is spent"


def test_a_trial_that_fails_is_told_with_its_reason(study):
    def broken(*_):
        raise RuntimeError("no GPU")

    work(study, CallableTrainer(broken), say=quiet, most=1)
    work(study, CallableTrainer(lambda *_: {"other": 1.0}), say=quiet, most=1)
    first, second = study.records()[:2]
    assert "RuntimeError: no GPU" in first.reason
    assert "needs the metrics ['loss']" in second.reason


def test_sigterm_ends_the_command_and_gives_the_trial_back(study, tmp_path):
    started = tmp_path / "started"
    script = f"import pathlib, time; pathlib.Path({str(started)!r}).touch(); time.sleep(600)"
    trainer = CommandTrainer(f'{sys.executable} -c "{script}"')

    def end():
        while not started.exists():
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=end)
    thread.start()
    assert work(study, trainer, say=quiet) == "told to stop"
    thread.join()
    assert study.records()[0].state == State.waiting


def test_a_lease_is_prolonged_while_a_trial_runs_and_its_loss_costs_one_attempt(study):
    other = Service(study._service._http).study("demo")
    said = []

    def slow(*_):
        # Another worker takes the trial, as if this one's lease had run out.
        study._service.send("POST", "/v1/studies/demo/trials/r00-t00:release", _lease(study))
        assert other.ask(1)[0].id == "r00-t00"
        return {"loss": 2.0}

    work(study, CallableTrainer(slow), say=said.append, most=1)
    assert "lease of trial 'r00-t00' is not valid any more" in said[0]
    other.tell("r00-t00", {"loss": 3.0})
    assert study.record_of("r00-t00").state == State.finished


def _lease(study):
    return {"lease": study.lease_of("r00-t00")}


@pytest.mark.slow
def test_ray_runs_the_trials_of_a_served_study_to_its_answer(listening, file_url, tmp_path):
    file = {**STUDY, "budget": {"trials": 4}, "initial": 4, "confirm_seeds": 2}
    trainer = {"kind": "callable", "target": "small_study:bowl"}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**file, "trainer": trainer}))
    job, server, said = Job.open(path, tmp_path), Server(listening(file_url), None), []
    study, found = run_served(job, server, say=said.append, address="local")
    with closing(study):
        ended = [r for r in study.records() if r.state == State.finished]
    # The same answer as from ask and tell, confirmed on fresh seeds.
    assert [r.trial.kind for r in ended[:4]] == ["initial"] * 4
    assert {r.trial.kind for r in ended[4:]} == {"confirmation"}
    assert sorted(said) == sorted(f"{r.trial.id}: finished" for r in ended)
    assert {c.label for c in found.confirmations} >= {"recommendation", "baseline"}


def test_a_service_that_is_away_is_waited_for_and_then_named():
    with pytest.raises(StudyError, match=r"service at http://127\.0\.0\.1:9 cannot answer: Con"):
        connect("http://127.0.0.1:9", patience=0.2).study("demo")
