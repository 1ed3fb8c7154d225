"""What the target repeats and trials do not: the surrogate must foresee it."""

import numpy as np
import pytest

from mixopt.laws import effective_weights
from mixopt.propose import initial_design
from mixopt.space import Fidelity, SearchSpace, geometry_of
from mixopt.surrogate import SurrogateSettings, fit_surrogate

NAMES = ("math", "web")
QUICK = SurrogateSettings(restarts=2, iterations=80, laws=("shared law",), gp_iterations=40)


def make(r_star):
    return SearchSpace(
        domains={"math": {"tokens": 100}, "web": {"tokens": 10**6}},
        baseline="uniform",
        target=Fidelity(parameters=1, tokens=2000),
        r_star=r_star,
    )


def loss(W):
    return 1 + 0.5 * (0.05 + W[:, 0] @ np.array([[1.0, 0.1], [0.1, 1.0]])) ** -0.4


@pytest.mark.parametrize("trials", [100, 2000])
def test_predictions_are_of_the_target_whatever_the_trials_repeat(trials):
    space = make(4.0)
    X = np.array([geometry_of(space).encode(s) for s in initial_design(space, 20, seed=0)])
    layout = geometry_of(space).layout.trained_on(trials)
    W, F = layout.split(X)
    Y = loss(effective_weights(layout.repetition, W, F, trials))
    fitted = fit_surrogate(layout, X, Y, NAMES, space.names, settings=QUICK)
    asked = np.array([[0.1, 0.9], [0.3, 0.7], [0.5, 0.5]])
    W, F = layout.split(asked)
    truth = loss(effective_weights(layout.repetition, W, F, 2000))
    # Ten epochs of math at most: what is foreseen is several times what is got wrong.
    assert np.abs(loss(W) - truth).max() > 0.08
    np.testing.assert_allclose(fitted.predict(asked).mean, truth, atol=0.02)


def test_a_token_is_a_token_without_an_r_star():
    space = make(None)
    assert geometry_of(space).layout.repetition is None
    assert geometry_of(space).layout.trained_on(5).repetition is None
