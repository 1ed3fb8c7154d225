"""What runs really trained: kept where the trainer counts, and nowhere else."""

from types import SimpleNamespace

import pytest

from mixopt.space import Fidelity, Observation, SearchSpace
from mixopt.study import CallableTrainer, Study, run_trial
from mixopt.study.cost import TrainedTokens, trained_tokens


class Sharing:
    """Counts like the proxy: every run after the first reuses three quarters."""

    def __init__(self):
        self.last_run = None

    def run(self, trial, report):
        reused = 0 if self.last_run is None else 75
        report([Observation(trial=trial.id, tokens=100, metric="loss", value=1.0)])
        self.last_run = SimpleNamespace(tokens_trained=100 - reused, tokens_reused=reused)


@pytest.fixture
def study():
    fidelity = Fidelity(parameters=10, tokens=100)
    space = SearchSpace(domains=("a", "b"), baseline="uniform")
    return Study("s", space, {"loss": 1.0}, storage=None, fidelity=fidelity, initial=4)


def test_trained_and_scheduled_tokens_add_up_over_runs(study):
    trainer = Sharing()
    for trial in study.ask():
        run_trial(study, trainer, trial)
    cost = trained_tokens(study.state())
    assert (cost.runs, cost.scheduled, cost.trained) == (4, 400, 100 + 3 * 25)
    assert cost.flops_scheduled == 6 * 10 * 400
    assert cost.saved == pytest.approx(1 - 175 / 400)
    assert str(cost).startswith("175 tokens trained of 400 without sharing")
    assert "56.2% saved" in str(cost)


def test_a_trial_that_is_over_already_costs_nothing_again(study):
    trainer = Sharing()
    trial = study.ask(1)[0]
    assert run_trial(study, trainer, trial)
    before = trained_tokens(study.state())
    assert not run_trial(study, trainer, trial)
    assert trained_tokens(study.state()) == before


def test_only_runs_after_a_time_are_counted(study):
    run_trial(study, Sharing(), study.ask(1)[0])
    ended = study.state().events_of("cost")[0]["time"]
    assert trained_tokens(study.state(), since=ended).runs == 1
    assert trained_tokens(study.state(), since=ended + 1) == TrainedTokens()


def test_a_trainer_that_does_not_count_leaves_no_cost(study):
    run_trial(study, CallableTrainer(lambda _schedule: {"loss": 1.0}), study.ask(1)[0])
    assert trained_tokens(study.state()) == TrainedTokens()
    assert TrainedTokens().saved == 0.0
