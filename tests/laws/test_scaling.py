"""Step and size laws, nesting, repetition, and the batched minimiser."""

import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der

from mixopt.errors import SurrogateError
from mixopt.laws import effective_tokens, fit_power, nested_prediction, worth_per_token
from mixopt.laws._lbfgs import minimise

STEPS = np.linspace(10e9, 20e9, 8)


def test_tied_exponents_are_recovered_and_extrapolate():
    rng = np.random.default_rng(0)
    c, s = rng.uniform(0.3, 0.8, 12), rng.uniform(-0.8, 0.0, 12)
    alpha = np.repeat([0.3, 0.5], 6)

    def truth(x):
        return np.exp(c) + np.exp(s - alpha * np.log(x / 14e9))

    Y = np.stack([truth(x) for x in STEPS], axis=1) + 0.001 * rng.standard_normal((12, 8))
    fit = fit_power(STEPS, Y, np.repeat([0, 1], 6))
    assert np.abs(fit.predict(40e9) - truth(40e9)).max() < 0.05
    assert (fit.residual_sd < 0.003).all()


def test_missing_points_are_left_out_and_few_points_are_said():
    Y = np.tile(1.0 + (STEPS / 1e10) ** -0.4, (3, 1))
    Y[1, 2:] = np.nan
    fit = fit_power(STEPS, Y)
    assert fit.notes == ("", "2 points for a floor and a slope", "")
    np.testing.assert_allclose(fit.predict(STEPS[7])[1], Y[0, 7], atol=0.02)


def test_scales_must_be_positive():
    with pytest.raises(SurrogateError, match="one positive scale per column"):
        fit_power(np.array([0.0, 1.0]), np.ones((1, 2)))


def test_nested_prediction_reaches_an_unseen_size_and_horizon():
    sizes, rng = np.array([2e7, 8e7, 2e8]), np.random.default_rng(1)
    level = rng.uniform(1.5, 2.5, (4, 3, 1, 1))

    def truth(n, t):
        return level + 0.6 * (n / 1e8) ** -0.25 + 0.5 * (t / 1e10) ** -0.4

    Y = truth(sizes[:, None], STEPS[None]) + 0.001 * rng.standard_normal((4, 3, 3, 8))
    predicted = nested_prediction(sizes, STEPS, Y, (3e8, 30e9))
    error = predicted - truth(3e8, 30e9)[:, :, 0, 0]
    assert np.abs(error).mean() < 0.03
    carried = Y[:, :, 2, -1] - truth(3e8, 30e9)[:, :, 0, 0]
    assert np.abs(error).mean() < 0.3 * np.abs(carried).mean()


@pytest.mark.parametrize(
    ("epochs", "worth"), [(1, 1.0), (2, 0.984), (4, 0.931), (8, 0.828), (16, 0.661), (40, 0.379)]
)
def test_repeated_tokens_are_worth_what_was_published(epochs, worth):
    assert worth_per_token(epochs * 1e9, 1e9) == pytest.approx(worth, abs=1e-3)


def test_unlimited_or_unread_domains():
    np.testing.assert_allclose(effective_tokens([5.0, 0.0], [np.inf, 3.0]), [5.0, 0.0])
    with pytest.raises(SurrogateError, match="available tokens must be positive"):
        effective_tokens([1.0], [0.0])


def test_a_batch_ends_where_single_problems_end():
    starts = np.random.default_rng(0).uniform(-1.5, 1.5, (6, 4))
    end = minimise(lambda t, _: (rosen(t.T), rosen_der(t.T).T), starts, iterations=500, tol=1e-14)
    gradient = np.abs(rosen_der(end.theta.T)).max()
    assert gradient < 1e-3
    alone = minimise(
        lambda t, _: (rosen(t.T), rosen_der(t.T).T), starts[2:3], iterations=500, tol=1e-14
    )
    np.testing.assert_allclose(alone.theta[0], end.theta[2], atol=1e-4)
