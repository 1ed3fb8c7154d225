from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixopt.errors import MixoptError
from mixopt.space import Fidelity, Schedule, SearchSpace, Trial
from mixopt.study import Spent, State, Study, StudySettings, TrialBudget, TrialRecord
from mixopt.study.budget import usual_cost
from mixopt.study.device_time import DeviceTime
from mixopt.study.storage import clock

SIZE = Fidelity(parameters=1000, tokens=500)
COST = usual_cost(SIZE)


def spent(trials, rounds=1):
    return Spent(
        trials=trials, tokens=trials * SIZE.tokens, flops=trials * SIZE.flops, rounds=rounds
    )


def test_a_budget_without_any_total_is_refused():
    with pytest.raises(
        MixoptError, match="at least one of trials, tokens, flops, rounds, device_hours and money"
    ):
        TrialBudget()


def test_totals_are_not_increments():
    budget = TrialBudget(trials=10, rounds=3)
    assert budget.left(spent(4)) == {"trials": 6, "rounds": 2}
    assert budget.exhausted(spent(4)) is None
    assert budget.exhausted(spent(10)) == "the budget of 10 trials is spent"
    assert budget.exhausted(spent(6, rounds=3)) == "the budget of 3 rounds is spent"


@given(total=st.integers(1, 60), used=st.integers(0, 60), wanted=st.integers(1, 20))
def test_a_round_never_costs_more_than_is_left(total, used, wanted):
    budgets = [
        TrialBudget(trials=total),
        TrialBudget(tokens=total * SIZE.tokens),
        TrialBudget(flops=total * SIZE.flops),
    ]
    for budget in budgets:
        n = budget.affordable(spent(used), wanted, COST)
        assert n == max(min(wanted, total - used), 0)
        assert (budget.exhausted(spent(used), COST) is None) == (total > used)
        assert budget.most_trials(COST) == total


def test_less_than_one_trials_worth_counts_as_spent():
    budget = TrialBudget(tokens=SIZE.tokens * 2 + 100)
    assert budget.exhausted(spent(2)) is None
    assert budget.exhausted(spent(2), COST) == "the budget of 1,100 tokens is spent"


def test_rounds_alone_say_nothing_of_trials():
    with pytest.raises(MixoptError, match="a budget of rounds alone does not say"):
        TrialBudget(rounds=3).most_trials(COST)


def test_flops_are_those_a_trainer_counts_where_it_does():
    settings = StudySettings(flops_per_token={SIZE.parameters: 20_000.0})
    assert settings.flops(SIZE) == 20_000 * SIZE.tokens
    other = Fidelity(parameters=7, tokens=500)
    assert settings.flops(other) == other.flops
    cost = DeviceTime(settings, {}).cost(SIZE)
    budget = TrialBudget(flops=5 * settings.flops(SIZE))
    assert budget.most_trials(cost) == 5
    used = Spent(trials=2, tokens=1, flops=2 * settings.flops(SIZE), rounds=1)
    assert budget.affordable(used, 9, cost) == 3


def test_money_needs_a_price_and_buys_device_hours():
    with pytest.raises(MixoptError, match="needs the price of a device-hour; got money 10 alone"):
        TrialBudget(money=10)
    budget = TrialBudget(money=10, price_per_device_hour=2.5)
    assert budget.left(Spent(device_hours=1.5)) == {"device_hours": 2.5}
    said = budget.exhausted(Spent(device_hours=4))
    assert said == "the budget of 10 at 2.5 per device-hour is spent"
    both = TrialBudget(money=10, price_per_device_hour=2.5, device_hours=3)
    assert both.exhausted(Spent(device_hours=3)) == "the budget of 3 device-hours is spent"


def took(name, seconds, parameters=1000, state=State.finished):
    size = Fidelity(parameters=parameters, tokens=500)
    trial = Trial(id=name, kind="initial", schedule=Schedule.static({"web": 1.0}), fidelity=size)
    ended = None if seconds is None else 100.0 + seconds
    return TrialRecord(trial, state, "", 1, 0, started=100.0, ended=ended)


def test_device_time_is_that_of_the_runs_that_are_over():
    settings = StudySettings(devices_per_trial=4)
    nothing = DeviceTime.of([took("a", None, state=State.running)], settings)
    assert nothing.seconds(SIZE) is None
    assert nothing.cost(SIZE) == COST
    records = [took("a", 30), took("b", 60), took("c", 400, 4000), took("d", 9, state=State.failed)]
    time = DeviceTime.of(records, settings)
    assert time.seconds(SIZE) == pytest.approx(45)
    # A run of another size takes its FLOPs at the rate of the nearest size.
    assert time.seconds(Fidelity(parameters=3000, tokens=500)) == pytest.approx(300)
    assert time.cost(SIZE)["device_hours"] == pytest.approx(45 * 4 / 3600)
    # What failed took its time too; what runs is predicted.
    running = took("e", None, state=State.running)
    assert [time.seconds_of(r) for r in (records[-1], running)] == pytest.approx([9, 45])


def test_a_study_stops_when_its_device_hours_are_spent(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(clock, "time", SimpleNamespace(time=lambda: now[0]))

    def train(schedule, *_):
        now[0] += 300.0
        return {"loss": schedule.base["web"] ** 2}

    study = Study(
        "hours",
        SearchSpace(domains=("web", "code"), baseline="uniform"),
        {"loss": 1.0},
        fidelity=SIZE,
        storage=None,
        budget=TrialBudget(device_hours=2.0),
        devices_per_trial=2.0,
        initial=4,
        patience=50,
    )
    study.optimize(train, confirm=False)
    assert study.stop_reason == "the budget of 2 device-hours is spent"
    # Five minutes on two devices are a sixth of a device-hour.
    assert len(study.records()) == 12
    assert study.spent().device_hours == pytest.approx(2)
