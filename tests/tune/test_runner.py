"""One Ray session: failures, dying workers, and what the summary says of them."""

import json
import os
import signal
from concurrent.futures import Future
from pathlib import Path

import pytest
import ray
from small_study import NAMES

from mixopt.errors import StudyError, TrialError
from mixopt.space import Fidelity, Kind, Mixture, Schedule, SearchSpace, Trial
from mixopt.study import CallableTrainer, State, Study, TrialBudget
from mixopt.tune import Progress, run_rounds
from mixopt.tune.driver import open_driver, runnable, trunk_of, trunks_first
from mixopt.tune.run_summary import covered
from mixopt.tune.session import ray_session


class Unlucky:
    """Fails one trial, kills the worker of another once, and of a third each time."""

    def __init__(self, folder, seeds):
        self.folder, self.seeds = str(folder), dict(seeds)

    def __call__(self, schedule, _fidelity, seed):
        fate = self.seeds.get(seed)
        log = Path(self.folder, f"starts-{seed}")
        with log.open("a") as file:
            file.write("x")
        Path(self.folder, f"worker-{os.getpid()}").touch()
        if fate == "error":
            raise TrialError("the shard of web is missing", "build the corpus")
        if fate == "dies" or (fate == "dies once" and log.read_text() == "x"):
            os.kill(os.getpid(), signal.SIGKILL)
        gap = schedule.exposure().to_array(NAMES) - [0.6, 0.3, 0.1]
        return {"loss": 2 + float(gap @ gap)}

    def count(self, seed):
        return len(Path(self.folder, f"starts-{seed}").read_text())


class Heard(Progress):
    """Keeps what it is told."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def ended(self, record, objective, _left=None):
        self.lines.append((record.trial.id, str(record.state), objective))


@pytest.fixture
def study(make):
    # A seed tells which trial meets which fate.
    return make(budget=TrialBudget(trials=6), confirm_seeds=1, seed_blocks=6, early_stop=True)


def test_a_trial_that_the_scheduler_ends_is_kept_with_its_rung(study, tmp_path):
    from mixopt.tune.mixture_search import config_of
    from mixopt.tune.tuning import ROWS, _Recorder

    class Tuned:
        config = config_of(study.ask()[0])

    trial = study.records()[0].trial
    study.release(trial.id)
    driver = open_driver(study, CallableTrainer(lambda *_: {}), tmp_path, None, None)
    assert driver.take(trial)
    half = trial.fidelity.tokens // 2
    rung = {"trial": trial.id, "tokens": half, "metric": "loss", "value": 2.5}
    result = {ROWS: json.dumps([rung]), "done": True}
    _Recorder(driver).on_trial_result(0, [], Tuned, result)
    assert study.record_of(trial.id).state == State.ended_early
    assert study.observations().tokens.tolist() == [half]
    assert not driver.has(trial.id)


def test_a_worker_waits_while_a_batch_is_made_and_while_the_last_trials_run(study, tmp_path):
    trials = study.propose()
    driver = open_driver(study, CallableTrainer(lambda *_: {}), tmp_path, None, None)
    made = [Future(), Future(), Future()]
    asked = iter(made)
    driver.draw_from(lambda: next(asked))
    driver.ahead = Future
    assert driver.next_trial() is None
    assert driver.waits
    made[0].set_result(trials[:2])
    assert not driver.waits
    assert [driver.next_trial().id for _ in range(2)] == [t.id for t in trials[:2]]
    assert driver.next_trial() is None
    assert driver.waits
    for each in trials[:2]:
        driver.ended(each.id, "it fell over", None)
    # The next batch is begun as soon as somebody asks, and not while another process runs one.
    assert not driver.waits
    assert driver.next_trial() is None
    assert driver.waits
    other = Study.open(study.store.address, study.name, read_only=False)
    assert other.lease([trials[2]])
    made[1].set_result(trials[2:3])
    assert driver.next_trial() is None
    assert not driver.waits
    assert not driver.over
    assert next(asked) is made[2]


def test_what_ends_the_making_of_a_batch_ends_the_run(study, tmp_path):
    driver = open_driver(study, CallableTrainer(lambda *_: {}), tmp_path, None, None)
    failing = Future()
    driver.draw_from(lambda: failing)
    failing.set_exception(ValueError("no batch"))
    assert driver.next_trial() is None
    assert driver.over
    assert not driver.waits
    assert isinstance(driver.error, ValueError)


def test_nothing_is_handed_out_after_the_last_batch(study, tmp_path):
    driver = open_driver(study, CallableTrainer(lambda *_: {}), tmp_path, None, None)
    drawn = [Future(), Future()]
    drawn[0].set_result(study.propose()[:1])
    drawn[1].set_result(None)
    asked = iter(drawn)
    driver.draw_from(lambda: next(asked))
    trial = driver.next_trial()
    assert not driver.over
    driver.ended(trial.id, "it fell over", None)
    assert driver.next_trial() is None
    assert driver.over
    assert driver.error is None


@pytest.mark.slow
def test_failures_and_dying_workers_do_not_end_a_study(study, tmp_path, capfd):
    trials = study.ask()
    fates = dict(zip([t.seed for t in trials[1:]], ("error", "dies once", "dies"), strict=False))
    study.tell(trials[5].id, {"loss": 2.2})
    train = Unlucky(tmp_path, fates)
    heard = Heard()
    summary = run_rounds(study, CallableTrainer(train), out=tmp_path, progress=heard)

    states = [(r.state, r.reason) for r in study.records() if r.search]
    assert states[0] == (State.finished, "")
    assert states[1] == (State.failed, "the shard of web is missing")
    assert states[2] == (State.finished, "")
    assert states[3][0] == State.failed
    assert states[3][1].startswith("its worker died 2 times; the last time: ")
    counts = [train.count(t.seed) for t in trials[:5]]
    # Errors are not retried, deaths are once, with the same weights and seed.
    assert counts == [1, 1, 2, 2, 1]
    # What was told before the run is never trained.
    assert not Path(train.folder, f"starts-{trials[5].seed}").exists()

    assert summary.stop_reason == "the budget of 6 trials is spent"
    assert {c.label for c in summary.recommendation.confirmations} >= {"recommendation", "baseline"}
    # Workers live on from one batch to the next; three died.
    assert len(list(tmp_path.glob("worker-*"))) <= summary.slots + 3
    assert summary.failed == 2
    assert 0 < summary.outside_share <= 1
    assert sum(summary.parts.values()) <= summary.wall_seconds
    assert (trials[0].id, "finished", pytest.approx(2.12, abs=0.01)) in heard.lines
    assert not ray.is_initialized()
    out, err = capfd.readouterr()
    assert out == ""
    assert "Traceback" not in err


def test_a_study_in_memory_is_refused(tmp_path):
    space = SearchSpace(domains=NAMES, baseline="uniform")
    study = Study("memory", space, {"loss": 1.0}, storage=None)
    with pytest.raises(StudyError, match="is in memory, where its trials end with this process"):
        run_rounds(study, CallableTrainer(dict), out=tmp_path)


def ending(index, mixture, fraction, seed=1):
    schedule = Schedule.two_phase(mixture, {"code": 1.0}, fraction)
    size = Fidelity(parameters=1, tokens=1000)
    return Trial(id=str(index), kind=Kind.proposed, schedule=schedule, fidelity=size, seed=seed)


EVEN, WEB = Mixture({"web": 0.5, "code": 0.5}), Mixture({"web": 1.0})


def test_the_trial_that_leaves_its_trunk_first_runs_first():
    trials = [ending(0, EVEN, 0.1), ending(1, EVEN, 0.3), ending(2, WEB, 0.2), ending(3, EVEN, 0)]
    # Then each that leaves later, and the one that never leaves.
    assert [t.id for t in trunks_first(trials)] == ["1", "2", "0", "3"]


def test_trials_wait_for_a_trunk_that_is_being_trained():
    trials = [ending(0, EVEN, 0.1), ending(1, WEB, 0.3), ending(2, EVEN, 0, seed=2)]
    trunk = ending(3, EVEN, 0.3)

    def ids(running, trained):
        return [t.id for t in runnable(trials, running, trained)]

    assert ids([], []) == ["0", "1", "2"]
    # Another mixture or another seed is another trunk.
    assert ids([trunk], []) == ["1", "2"]
    # The trunk is there already.
    assert ids([trunk], [trunk_of(trunk)]) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("spans", "length"),
    [([], 0), ([(0, 2), (1, 3)], 3), ([(0, 5), (1, 2), (6, 7)], 6)],
)
def test_overlapping_trials_are_counted_once(spans, length):
    assert covered(spans) == length


def test_a_ray_that_is_not_there_is_named(monkeypatch):
    def refuse(**given):
        raise ConnectionError(given["address"])

    monkeypatch.setattr(ray, "init", refuse)
    missing = pytest.raises(StudyError, match="no running Ray was found at the address 'auto'")
    with missing as found, ray_session("auto"):
        pass
    assert "ray start --head" in found.value.hint
