"""The clock of a learning rate, and that a law fitted to it finds how late tokens count."""

import numpy as np
import pytest
import torch

from mixopt.laws import SharedShape, effective_mixture, fit_shared, rate_fractions
from mixopt.space import LearningRate, SearchSpace, geometry_of


def make(run=None, ending=None):
    return SearchSpace(
        domains=["a", "b"],
        baseline="uniform",
        learning_rate=run,
        phases=[
            {"name": "base"},
            {"name": "ending", "fraction": (0.0, 0.1, 0.3), "learning_rate": ending},
        ],
    )


@pytest.mark.parametrize("run", [None, {"peak": 1e-3}])
def test_a_constant_rate_needs_no_clock(run):
    clock = geometry_of(make(run)).layout.clock
    assert clock is None
    F = np.array([[0.7, 0.3]])
    assert rate_fractions(clock, F) is F


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_an_ending_under_decay_gets_the_share_of_the_rate_that_falls_on_it(kind):
    clock = geometry_of(make({"decay": 0.5})).layout.clock
    F = kind(np.array([[1.0, 0.0], [0.7, 0.3], [0.9, 0.1]]))
    got = np.asarray(rate_fractions(clock, F))
    # The rate falls over the last half to 0: the area of the last x is x^2, of .75 in all.
    np.testing.assert_allclose(got[:, 1], np.array([0.0, 0.09, 0.01]) / 0.75, atol=1e-4)
    np.testing.assert_allclose(got.sum(1), 1)


def test_a_phase_with_a_rule_of_its_own_counts_by_its_mean_rate():
    run = {"peak": 1e-2, "decay": 0.0}
    clock = geometry_of(make(run, {"peak": 2e-2, "decay": 1.0})).layout.clock
    got = rate_fractions(clock, np.array([[0.7, 0.3]]))
    # Twice the peak, falling all the way: on average the run's own rate.
    np.testing.assert_allclose(got, [[0.7, 0.3]], atol=1e-6)
    low = geometry_of(make(run, {"peak": 1e-3})).layout.clock
    np.testing.assert_allclose(
        rate_fractions(low, np.array([[0.7, 0.3]])), [[0.7 / 0.73, 0.03 / 0.73]]
    )


def test_gradients_pass_through_the_clock():
    clock = geometry_of(make({"decay": 0.5})).layout.clock
    F = torch.tensor([[0.75, 0.25]], dtype=torch.float64, requires_grad=True)
    rate_fractions(clock, F)[0, 1].backward()
    assert torch.isfinite(F.grad).all()
    assert F.grad[0, 1] > F.grad[0, 0]


@pytest.mark.parametrize("kappa", [0.0, 4.0])
def test_the_recency_weight_is_learned_under_decay(kappa):
    rule = LearningRate(warmup=0.05, decay=0.3)
    clock = geometry_of(make(rule)).layout.clock
    rng = np.random.default_rng(0)
    W = rng.dirichlet(np.ones(2), (40, 2))
    late = rng.choice([0.1, 0.2, 0.3], 40)
    G = rate_fractions(clock, np.stack([1 - late, late], axis=1))
    seen = effective_mixture(np.array(kappa), W, G)
    Y = 2 + 0.5 * (0.05 + seen) ** -0.3
    (fit,) = fit_shared(SharedShape((0, 1), 2, 8, 2), W, G, Y, seed=0)
    found = fit.shape.unpack(fit.theta)["kappa"]
    best = found[np.argmin(fit.value)]
    np.testing.assert_allclose(best, kappa, atol=0.7)
