"""The parts behind the surrogate: kernel gradients, stacking, folds, calibration."""

import numpy as np
import pytest
import torch

from mixopt.space import Layout
from mixopt.surrogate import fit_surrogate
from mixopt.surrogate.ensemble.gp import Kernel, switched
from mixopt.surrogate.ensemble.kernel import (
    UNSEEN,
    GPObjective,
    Prior,
    fit_hyperparameters,
    matern52,
)
from mixopt.surrogate.ensemble.kernel import squared_distance as distance
from mixopt.surrogate.ensemble.stack import _simplex_quadratic, calibrate, fold_masks, stack_weights


def gp_problem(law, seed=0, shared=False):
    rng = np.random.default_rng(seed)
    U, Z = rng.dirichlet(np.ones(4), 12), rng.standard_normal((3, 12))
    s = rng.standard_normal((3, 12, 5))
    T = np.eye(3)[np.arange(12) % 3] - 1 / 3
    law, common = distance(s, s) if law else None, T @ T.T if shared else None
    return GPObjective(U, Z, np.zeros_like(Z), Prior(), law, 0, common), rng


@pytest.mark.parametrize(("law", "shared"), [(False, False), (True, False), (False, True)])
def test_marginal_likelihood_gradient(law, shared):
    objective, rng = gp_problem(law, shared=shared)
    theta = objective.mean + 0.3 * rng.standard_normal((3, len(objective.mean)))
    which = np.arange(3)
    gradient = objective(theta, which)[1]
    for _ in range(4):
        v = rng.standard_normal(theta.shape)
        up, down = objective(theta + 1e-5 * v, which)[0], objective(theta - 1e-5 * v, which)[0]
        np.testing.assert_allclose((gradient * v).sum(1), (up - down) / 2e-5, rtol=1e-4, atol=1e-6)


def test_a_hidden_row_does_not_move_the_hyperparameters():
    rng = np.random.default_rng(0)
    U, Z = rng.dirichlet(np.ones(3), 15), rng.standard_normal((1, 15))
    hidden = np.zeros_like(Z)
    hidden[0, 4] = UNSEEN
    moved = Z.copy()
    moved[0, 4] += 5.0
    a, b = (fit_hyperparameters(U, z, hidden, Prior(), 40) for z in (Z, moved))
    np.testing.assert_allclose(a, b, atol=1e-3)


def test_the_torch_kernel_is_the_one_that_was_fitted():
    rng = np.random.default_rng(1)
    objective, _ = gp_problem(law=False)
    theta = objective.mean + 0.3 * rng.standard_normal((2, len(objective.mean)))
    W = rng.dirichlet(np.ones(4), (6, 1))
    W[0, 0] = [0.0, 0.5, 0.5, 0.0]
    kernel = Kernel(torch.as_tensor(theta), 4)
    one = torch.ones(6, 1, dtype=torch.float64)
    x = kernel.embed(torch.as_tensor(W), one, one[:, :0])
    z = W[None, :, 0] ** np.exp(theta[:, 4])[:, None, None] / np.exp(theta[:, None, :4])
    expected = np.exp(2 * theta[:, 5])[:, None, None] * matern52(distance(z, z))[0] + 4.0
    np.testing.assert_allclose(kernel.covariance(x, x).numpy(), expected, rtol=1e-6)


def test_gradients_are_finite_on_the_faces_of_the_simplex():
    kernel = Kernel(torch.zeros(1, 6, dtype=torch.float64), 3)
    W = torch.eye(3, dtype=torch.float64)[:, None].clone().requires_grad_()
    one = torch.ones(3, 1, dtype=torch.float64)
    x = kernel.embed(W, one, one[:, :0])
    kernel.covariance(x, x).sum().backward()
    assert torch.isfinite(W.grad).all()


def test_simplex_quadratic_is_not_beaten_by_any_point_of_a_grid():
    rng = np.random.default_rng(0)
    for _ in range(10):
        A = rng.standard_normal((3, 3))
        H, b = A @ A.T + 0.1 * np.eye(3), rng.standard_normal(3)
        w = _simplex_quadratic(H, b)
        assert w.sum() == pytest.approx(1.0)
        assert (w >= 0).all()
        grid = rng.dirichlet(np.ones(3), 2000)
        values = 0.5 * np.einsum("gi,ij,gj->g", grid, H, grid) - grid @ b
        assert 0.5 * w @ H @ w - b @ w <= values.min() + 1e-9


def test_weights_stay_at_the_default_without_evidence_and_leave_it_with_some():
    rng = np.random.default_rng(0)
    y, default = rng.standard_normal(40), np.array([0.6, 0.4])
    alike = y + 0.1 * rng.standard_normal((2, 40))
    np.testing.assert_array_equal(stack_weights(alike, y, default), default)
    bad = np.stack([rng.standard_normal(40), alike[1]])
    assert stack_weights(bad, y, default)[1] > 0.9


def test_folds_keep_replicates_together_and_are_even():
    groups = np.array([0, 0, 1, 2, 3, 3, 4, 5, 6, 7])
    masks, fold = fold_masks(groups, 4, seed=0)
    assert masks.shape == (4, 10)
    assert all(len(set(fold[groups == g])) == 1 for g in range(8))
    assert sorted(np.bincount(fold[np.unique(groups, return_index=True)[1]])) == [2, 2, 2, 2]


def test_calibration_finds_scale_and_trend():
    rng = np.random.default_rng(0)
    t = rng.uniform(-2, 2, (400, 3))
    residual = 2.0 * np.exp(0.3 * t) * rng.standard_normal((400, 3))
    factor, trend = calibrate(residual, np.ones((400, 3)), t)
    np.testing.assert_allclose(factor, 2.0, rtol=0.1)
    np.testing.assert_allclose(trend, 0.3, atol=0.08)


def test_a_switch_is_measured_where_phases_meet():
    W = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])
    rows = np.array([W[[0, 0, 0]], W[[0, 1, 0]], W[[0, 1, 2]], W[[0, 1, 2]], W[[2, 0, 0]]])
    F = np.array([[0.4, 0.3, 0.3]] * 3 + [[0.7, 0.0, 0.3], [0.0, 0.5, 0.5]])
    half = 0.5 * np.array([0.0, 0.5 + 0.5, 0.5 + 1.5, 0.5, 0.0])
    np.testing.assert_allclose(switched(rows, F)[:, 0], half)
    same = switched(torch.as_tensor(rows), torch.as_tensor(F))
    np.testing.assert_allclose(same[:, 0].numpy(), half)


@pytest.mark.parametrize("cost", [0.0, 0.4])
def test_what_a_switch_costs_is_learned_beside_the_laws(cost):
    rng = np.random.default_rng(0)
    W, F = rng.dirichlet(np.ones(3), (24, 2)), np.tile([0.8, 0.2], (24, 1))
    law = lambda W, F: 2 - 0.5 * np.log(0.1 + np.einsum("npd,np->nd", W, F))  # noqa: E731
    Y = law(W, F) + cost * switched(W, F) + 0.003 * rng.standard_normal((24, 3))
    names = ("a", "b", "c")
    X = np.hstack([W.reshape(24, 6), F])
    fitted = fit_surrogate(Layout(3, 2), X, Y, names, names)
    V = rng.dirichlet(np.ones(3) * 3, 20)
    static = fitted.predict(np.hstack([V, V, np.tile([0.8, 0.2], (20, 1))]))
    off = static.mean - law(np.stack([V, V], 1), np.tile([0.8, 0.2], (20, 1)))
    assert np.abs(off.mean()) < 0.02
    assert (np.abs(off) < 2.5 * static.sd).mean() > 0.8
