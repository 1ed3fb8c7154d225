"""What the dashboard leads with: trials, tokens, time and money, spent and to go."""

from small_study import make, space, train

from mixopt.service.live import live
from mixopt.study import TrialBudget

__all__ = ["make", "space", "train"]


def tiles(study):
    return {t.label: t for t in live(study.state(), [], study.store.now()).tiles}


def test_time_and_money_are_told_as_far_as_they_are_known(make, train):
    study = make(budget=TrialBudget(trials=10, price_per_device_hour=3.6e9), storage=None)
    before = tiles(study)["device time"]
    assert before.below == ("0.00 spent",)
    for trial in study.ask():
        study.tell(trial.id, train(trial.schedule, trial.fidelity, trial.seed))
    shown = tiles(study)
    assert shown["finished"].below == ("of 10 trials",)
    time_left, spent, money_left = shown["device time"].below
    assert time_left.startswith("at most about ")
    # The four trials and the confirmation runs that may follow take longer than the six before.
    amount = [
        float(text.replace(",", "").split()[-3 if "go" in text else 0])
        for text in (spent, money_left)
    ]
    assert 0 < amount[0] < amount[1]


def test_a_search_that_is_over_has_nothing_to_go(make, train):
    study = make(budget=TrialBudget(trials=6), storage=None)
    for trial in study.ask():
        study.tell(trial.id, train(trial.schedule, trial.fidelity, trial.seed))
    assert len(tiles(study)["device time"].below) == 1
    assert study.close_search() == "the budget of 6 trials is spent"
    assert tiles(study)["device time"].below == ()
