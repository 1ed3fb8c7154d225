import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixopt.errors import MixoptError
from mixopt.space import Fidelity
from mixopt.study import Spent, StudySettings, TrialBudget

SIZE = Fidelity(parameters=1000, tokens=500)


def spent(trials, rounds=1):
    return Spent(
        trials=trials, tokens=trials * SIZE.tokens, flops=trials * SIZE.flops, rounds=rounds
    )


def test_a_budget_without_any_total_is_refused():
    with pytest.raises(MixoptError, match="at least one of trials, tokens, flops and rounds"):
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
        n = budget.affordable(spent(used), wanted, SIZE)
        assert n == max(min(wanted, total - used), 0)
        assert (budget.exhausted(spent(used), SIZE) is None) == (total > used)
        assert budget.most_trials(SIZE) == total


def test_less_than_one_trials_worth_counts_as_spent():
    budget = TrialBudget(tokens=SIZE.tokens * 2 + 100)
    assert budget.exhausted(spent(2)) is None
    assert budget.exhausted(spent(2), SIZE) == "the budget of 1,100 tokens is spent"


def test_rounds_alone_say_nothing_of_trials():
    with pytest.raises(MixoptError, match="a budget of rounds alone"):
        TrialBudget(rounds=3).most_trials(SIZE)


def test_flops_are_those_a_trainer_counts_where_it_does():
    settings = StudySettings(flops_per_token={SIZE.parameters: 20_000.0})
    assert settings.flops(SIZE) == 20_000 * SIZE.tokens
    other = Fidelity(parameters=7, tokens=500)
    assert settings.flops(other) == other.flops
    budget = TrialBudget(flops=5 * settings.flops(SIZE))
    assert budget.most_trials(SIZE, settings.flops) == 5
    used = Spent(trials=2, tokens=1, flops=2 * settings.flops(SIZE), rounds=1)
    assert budget.affordable(used, 9, SIZE, settings.flops) == 3
