"""The shared law: its gradient, its torch face, recovery, and what phases do to it."""

import itertools

import numpy as np
import pytest
import torch

from mixopt.laws import (
    SharedShape,
    Units,
    fit_shared,
    mass_features,
    position_weights,
    shared_value,
)
from mixopt.laws.phases import effective_mixture
from mixopt.laws.shared import SharedObjective


def rows(n, d, phases, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(d), (n, phases)), rng.dirichlet(np.ones(phases), n)


@pytest.mark.parametrize("phases", [1, 2])
def test_gradient_is_that_of_the_value(phases):
    rng = np.random.default_rng(0)
    W, F = rows(7, 3, phases)
    Y = 2.0 + rng.random((7, 3))
    shape = SharedShape((1, -1, 0), 3, 4, phases)
    objective = SharedObjective(shape, W, F, Y, Units.of(Y), np.ones((2, 7)))
    theta, which = 0.5 * rng.standard_normal((2, shape.size)), np.arange(2)
    gradient = objective(theta, which)[1]
    for _ in range(4):
        v = rng.standard_normal(theta.shape)
        up, down = objective(theta + 1e-6 * v, which)[0], objective(theta - 1e-6 * v, which)[0]
        np.testing.assert_allclose((gradient * v).sum(1), (up - down) / 2e-6, rtol=1e-5)


@pytest.mark.parametrize("phases", [1, 3])
def test_numpy_and_torch_agree(phases):
    W, F = rows(5, 3, phases)
    shape = SharedShape((0, -1), 3, 4, phases)
    theta = np.random.default_rng(0).standard_normal((2, shape.size))
    units = Units(np.array([1.0, 2.0]), np.array([0.1, 0.2]))
    tensors = Units(torch.tensor(units.low), torch.tensor(units.sd))
    T, TW, TF = torch.tensor(theta), torch.tensor(W), torch.tensor(F)
    np.testing.assert_allclose(
        shared_value(shape, tensors, T, TW, TF).numpy(), shared_value(shape, units, theta, W, F)
    )
    np.testing.assert_allclose(
        mass_features(shape, T, TW, TF).numpy(), mass_features(shape, theta, W, F)
    )


@pytest.mark.parametrize("phases", [1, 2])
def test_it_recovers_its_own_losses_under_noise(phases):
    rng = np.random.default_rng(4)
    W, F = rows(90, 4, phases, seed=4)
    shape = SharedShape((0, 1, 2, 3), 4, 8, phases)
    truth = rng.standard_normal((1, shape.size))
    clean = shared_value(shape, Units(np.full(4, 2.0), np.full(4, 0.3)), truth, W, F)[0]
    Y = clean + 0.03 * clean.std(0) * rng.standard_normal(clean.shape)
    fit = fit_shared(shape, W[:60], F[:60], Y[:60])[0]
    error = fit.predict(W[60:], F[60:]) - clean[60:]
    assert (np.sqrt((error**2).mean(0)) < 0.15 * clean.std(0)).all()


def test_masked_rows_do_not_matter():
    W, F = rows(12, 3, 1)
    Y = np.random.default_rng(0).random((12, 2)) + 2
    mask = np.ones((1, 12))
    mask[0, 4] = 0.0
    shape = SharedShape((0, 1), 3, 4)
    objective = SharedObjective(shape, W, F, Y, Units.of(Y), mask)
    moved = SharedObjective(shape, W, F, Y + 9 * (1 - mask.T), Units.of(Y), mask)
    theta = np.random.default_rng(1).standard_normal((1, shape.size))
    np.testing.assert_allclose(
        objective(theta, np.arange(1))[1], moved(theta, np.arange(1))[1], rtol=1e-12
    )


@pytest.mark.parametrize("kappa", [-3.0, 0.0, 1e-4, 2e-3, 5.0])
def test_position_weights_are_the_integral_of_the_exponential(kappa):
    F = np.array([[0.5, 0.0, 0.3, 0.2]])
    w = position_weights(np.array([[kappa]]), F)[0]
    t = (np.arange(200_000) + 0.5) / 200_000
    density = np.exp(kappa * t)
    edges = np.concatenate([[0.0], F[0].cumsum()])
    expected = [
        density[(t > a) & (t <= b)].sum() / density.sum() for a, b in itertools.pairwise(edges)
    ]
    np.testing.assert_allclose(w, expected, atol=1e-5)
    assert w[1] == 0.0


@pytest.mark.parametrize("kappa", [-2.0, 0.0, 5e-4, 1.5])
def test_effective_mixture_slope(kappa):
    W, F = rows(6, 3, 3)
    k, h = np.array([kappa]), 1e-5
    difference = (effective_mixture(k + h, W, F) - effective_mixture(k - h, W, F)) / (2 * h)
    np.testing.assert_allclose(effective_mixture(k, W, F, slope=True), difference, atol=1e-6)
