"""Step and size laws with priors, and their nesting."""

import numpy as np

from mixopt.bench.nested_laws import fit_power, nested_prediction

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


def test_missing_points_are_left_out():
    Y = np.tile(1.0 + (STEPS / 1e10) ** -0.4, (3, 1))
    Y[1, 2:] = np.nan
    np.testing.assert_allclose(fit_power(STEPS, Y).predict(STEPS[7])[1], Y[0, 7], atol=0.02)


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
