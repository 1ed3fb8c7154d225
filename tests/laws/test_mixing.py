"""Mixing laws: derivatives, agreement of the numpy and torch faces, recovery of known truths."""

import numpy as np
import pytest
import torch

from mixopt.laws import LAWS, fit_law

D, N = 4, 9


def problem(law, seed=0, batch=3):
    rng = np.random.default_rng(seed)
    mean, sd = law.prior(D, 1)
    theta = mean + 0.5 * sd * rng.standard_normal((batch, len(mean)))
    return theta, rng.dirichlet(np.ones(D), (1, N))


@pytest.mark.parametrize("law", LAWS.values(), ids=lambda law: law.name)
def test_slopes_are_those_of_the_value(law):
    theta, R = problem(law)
    T, X = torch.tensor(theta, requires_grad=True), torch.tensor(R.repeat(3, 0), requires_grad=True)
    out = T[:, :1] + law.shape(T, X)
    slopes = law.slopes(theta, R)
    np.testing.assert_allclose(out.detach().numpy(), theta[:, :1] + law.shape(theta, R), rtol=1e-12)
    for n in range(N):
        gT, gX = torch.autograd.grad(out[:, n].sum(), (T, X), retain_graph=True)
        np.testing.assert_allclose(gT.numpy(), slopes.theta[:, n], rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(gX[:, n].numpy(), slopes.R[:, n], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("law", LAWS.values(), ids=lambda law: law.name)
@pytest.mark.parametrize("phases", [1, 2])
def test_a_law_recovers_its_own_losses_under_noise(law, phases):
    rng = np.random.default_rng(3)
    W, F = rng.dirichlet(np.ones(D), (80, phases)), rng.dirichlet(np.ones(phases), 80)
    mean, sd = law.prior(D, 0)
    theta = (mean + 0.3 * sd * rng.standard_normal(len(mean)))[None]
    weight = F * np.exp(1.5 * np.arange(phases))
    R = np.einsum("np,npd->nd", weight / weight.sum(1, keepdims=True), W)
    clean = 2.0 + 0.1 * law.shape(theta, R[None])[0]
    noise = 0.05 * clean.std()
    Y = (clean + noise * rng.standard_normal(80))[:, None]
    fit = fit_law(law, W[:60], F[:60], Y[:60], [0], restarts=3)[0]
    error = fit.predict(W[60:], F[60:])[:, 0] - clean[60:]
    assert np.sqrt((error**2).mean()) < 0.2 * clean.std()


def test_effective_data_recovers_its_exchange_rates():
    rng = np.random.default_rng(0)
    law, R = LAWS["effective data"], rng.dirichlet(0.7 * np.ones(D), 200)
    a = np.array([1.0, 0.4, 0.05, 0.0])
    Y = 2.0 + 0.8 * (0.03 + R @ a) ** -0.4 + 0.002 * rng.standard_normal(200)
    fit = fit_law(law, R[:, None], np.ones((200, 1)), Y[:, None], [0])[0]
    rates = np.exp(fit.theta[0, 4:] - fit.theta[0, 4])
    np.testing.assert_allclose(rates[:3], a[:3], atol=0.08)
    assert rates[3] < 0.05


def test_an_outlier_hardly_moves_the_fit():
    rng = np.random.default_rng(1)
    R = rng.dirichlet(np.ones(D), 60)
    clean = 2.0 + np.exp(R @ np.array([-2.0, 0.0, 0.5, 0.2]))
    Y = clean + 0.01 * rng.standard_normal(60)
    Y[7] += 3.0
    fit = fit_law(LAWS["M4"], R[:, None], np.ones((60, 1)), Y[:, None], [0])[0]
    keep = np.arange(60) != 7
    error = fit.predict(R[:, None], np.ones((60, 1)))[keep, 0] - clean[keep]
    assert np.abs(error).max() < 0.1


def test_a_law_says_when_its_assumptions_fail():
    rng = np.random.default_rng(1)
    R = rng.dirichlet(np.ones(D), 4)
    R[:2, 0] = 0.0
    R /= R.sum(1, keepdims=True)
    fit = fit_law(LAWS["M4"], R[:, None], np.ones((4, 1)), rng.random((4, 1)) + 2, [0])[0]
    assert "own share exactly 0 in 2 rows" in fit.notes[0]
    assert "4 different mixtures for 5 parameters" in fit.notes[0]
