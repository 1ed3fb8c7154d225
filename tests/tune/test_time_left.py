"""What is still to run, in seconds of the slots, from runs that are over."""

import pytest
from small_study import make, space, train

from mixopt.study import TrialBudget
from mixopt.tune.job import devices_of
from mixopt.tune.time_left import CHECKED, seconds_left

__all__ = ["make", "space", "train"]


@pytest.fixture
def begun(make, train):
    """A study of ten trials of one fidelity, six of which are over."""
    study = make(storage=None, confirm_seeds=3)
    for trial in study.ask():
        study.tell(trial.id, train(trial.schedule, trial.fidelity, trial.seed))
    return study


def mean_seconds(state):
    """What a finished run took."""
    return sum(r.seconds for r in state.records) / len(state.records)


def test_what_the_budget_pays_for_and_what_will_be_confirmed_is_counted(begun):
    state = begun.state()
    runs = 4 + CHECKED * 3
    assert seconds_left(state, slots=1) == pytest.approx(runs * mean_seconds(state))


def test_slots_share_the_runs_and_idle_slots_cost_time(begun):
    state = begun.state()
    alone = seconds_left(state, slots=1)
    assert seconds_left(state, slots=4) == pytest.approx(alone / 4)
    runs = 4 + CHECKED * 3
    assert seconds_left(state, slots=2, idle=3.0) == pytest.approx((alone + 3.0 * runs) / 2)


def test_trials_in_flight_are_still_to_run(begun):
    before = begun.state()
    begun.ask()
    after = begun.state()
    assert len(after.open_search) == 4
    assert seconds_left(after, slots=1) == pytest.approx(seconds_left(before, slots=1))


def test_nothing_is_said_before_a_run_is_over_or_without_a_total(make, train):
    assert seconds_left(make(storage=None).state(), slots=1) is None
    unbound = make(storage=None, budget=TrialBudget(rounds=5))
    for trial in unbound.ask():
        unbound.tell(trial.id, train(trial.schedule, trial.fidelity, trial.seed))
    assert seconds_left(unbound.state(), slots=1) is None


@pytest.mark.parametrize(
    ("resources", "devices"),
    [({"cpu": 4}, 4), ({"CPU": 4, "GPU": 2}, 2), ({"gpu": 0.25}, 0.25), ({}, 1)],
)
def test_a_trial_occupies_its_gpus_or_else_its_cpus(resources, devices):
    assert devices_of(resources) == devices
