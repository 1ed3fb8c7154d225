import numpy as np
import pytest
from standin import Landscape, Standin, make_space

from mixopt.propose import Evidence, expected_regret, initial_design, should_stop
from mixopt.space import Objective
from mixopt.surrogate import SurrogateRow


def ask(noise, n, landscape_noise=None, **extra):
    space = make_space(4, 1, epochs=50)
    land = Landscape(space, landscape_noise or noise)
    seen = land.evidence(initial_design(space, n, seed=0))
    objective = Objective(weights=dict.fromkeys(land.metrics, 0.25))
    surrogate = Standin(space, seen, noise)
    return should_stop(space, objective, surrogate, seen, seed=0, **extra)


def test_it_goes_on_while_little_is_known_and_noise_is_low():
    decision = ask(0.001, 8)
    assert not decision.stop
    assert decision.expected_regret > 0.5 * decision.noise
    assert "more trials pay: an expected regret of 0." in decision.reason


def test_it_stops_when_noise_hides_what_is_left_to_gain():
    decision = ask(0.05, 60)
    assert decision.stop
    assert decision.noise == pytest.approx(0.05 / 2)
    assert f"{decision.expected_regret:.4f} against a noise of 0.0250" in decision.reason


def test_few_trials_are_never_enough_to_stop():
    # A surrogate that claims to know all after five trials is not believed.
    decision = ask(5.0, 5, landscape_noise=0.01)
    assert not decision.stop
    assert "5 different trials are too few to trust (least 12)" in decision.reason
    assert ask(5.0, 5, landscape_noise=0.01, minimum=5).stop


def test_the_factor_sets_how_much_regret_is_worth_a_trial():
    assert ask(0.05, 60, factor=1e-6).stop is False


def test_more_evidence_lowers_the_expected_regret():
    space = make_space(4, 1, epochs=50)
    land = Landscape(space, 0.01)
    objective = Objective(weights=dict.fromkeys(land.metrics, 0.25))
    all_of_it = land.evidence(initial_design(space, 60, seed=0))
    gains = []
    for n in (8, 60):
        seen = Evidence(all_of_it.X[:n], all_of_it.Y[:n], all_of_it.metrics, all_of_it.ids[:n])
        surrogate = Standin(space, seen, 0.01)
        gains.append(expected_regret(space, objective, surrogate, seen, seed=0))
    assert gains[1] < 0.6 * gains[0]
    assert np.isfinite(gains).all()


def test_a_surrogate_that_ranks_badly_is_not_trusted_to_stop():
    space = make_space(4, 1, epochs=50)
    land = Landscape(space, 0.05)
    seen = land.evidence(initial_design(space, 60, seed=0))
    objective = Objective(weights=dict.fromkeys(land.metrics, 0.25))
    surrogate = Standin(space, seen, 0.05)
    surrogate.report = lambda: tuple(SurrogateRow(metric=m, spearman=0.2) for m in seen.metrics)
    decision = should_stop(space, objective, surrogate, seen, seed=0)
    assert not decision.stop
    assert "a rank correlation of 0.20 out of fold is too low to trust" in decision.reason
