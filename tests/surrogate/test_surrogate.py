"""The surrogate's promises: what it accepts, how it falls back, and what its answers obey."""

import numpy as np
import pytest
import torch

from mixopt.errors import SurrogateError
from mixopt.space import Layout
from mixopt.surrogate import SurrogateSettings, fit_surrogate

QUICK = SurrogateSettings(restarts=2, iterations=60, gp_iterations=40)


def landscape(n, d, phases=1, metrics=2, noise=0.01, seed=0):
    rng = np.random.default_rng(seed)
    W = rng.dirichlet(np.ones(d), (n, phases))
    F = rng.dirichlet(np.ones(phases), n)
    X = np.concatenate([W.reshape(n, -1)] + ([F] if phases > 1 else []), axis=1)
    recent = F * np.exp(1.0 * np.arange(phases))
    R = np.einsum("np,npd->nd", recent / recent.sum(1, keepdims=True), W)
    Y = np.stack([2 + np.exp(-2 * R[:, i % d]) for i in range(metrics)], axis=1)
    return X, Y + noise * rng.standard_normal(Y.shape)


def names(d):
    return [f"d{i}" for i in range(d)]


def test_nan_row_is_refused_by_name():
    X, Y = landscape(8, 3)
    Y[5, 1] = np.nan
    with pytest.raises(SurrogateError, match=r"row 5 has d1 = nan"):
        fit_surrogate(Layout(3), X, Y, ["d0", "d1"], names(3))


def test_weights_that_do_not_sum_to_one_are_refused():
    X, Y = landscape(8, 3)
    X[2] *= 1.1
    with pytest.raises(SurrogateError, match=r"row 2, phase 0 sums to 1\.1000"):
        fit_surrogate(Layout(3), X, Y, ["d0", "d1"], names(3))


def test_two_points_fall_back_with_a_wide_interval_and_say_so():
    X, Y = landscape(2, 3)
    s = fit_surrogate(Layout(3), X, Y, ["d0", "d1"], names(3))
    p = s.predict(np.eye(3))
    assert (p.sd > 0.2 * Y.std(0)).all()
    assert all("only 2 different schedules" in row["fallback"] for row in s.report())


def test_weights_of_a_phase_without_tokens_change_nothing():
    X, Y = landscape(14, 3, phases=2)
    X[:4, 6:] = [1.0, 0.0]
    X2 = X.copy()
    X2[:4, 3:6] = [0.0, 0.0, 1.0]
    a = fit_surrogate(Layout(3, 2), X, Y, ["d0", "d1"], names(3), settings=QUICK)
    b = fit_surrogate(Layout(3, 2), X2, Y, ["d0", "d1"], names(3), settings=QUICK)
    np.testing.assert_allclose(a.predict(X).mean, b.predict(X2).mean, rtol=1e-9)
    np.testing.assert_allclose(a.predict(X).mean, a.predict(X2).mean, rtol=1e-9)


def test_permuting_domains_permutes_the_answer():
    X, Y = landscape(20, 4)
    perm = np.array([2, 0, 3, 1])
    a = fit_surrogate(Layout(4), X, Y, ["d0", "d1"], names(4), settings=QUICK)
    b = fit_surrogate(
        Layout(4), X[:, perm], Y, ["d0", "d1"], [f"d{i}" for i in perm], settings=QUICK
    )
    Q = np.random.default_rng(1).dirichlet(np.ones(4), 30)
    np.testing.assert_allclose(a.predict(Q).mean, b.predict(Q[:, perm]).mean, rtol=1e-7)
    np.testing.assert_allclose(a.predict(Q).sd, b.predict(Q[:, perm]).sd, rtol=1e-6)


@pytest.mark.parametrize("phases", [1, 2])
def test_paths_have_the_posteriors_mean_and_sd(phases):
    X, Y = landscape(16, 3, phases=phases)
    s = fit_surrogate(Layout(3, phases), X, Y, ["d0", "d1"], names(3), settings=QUICK)
    Q, _ = landscape(10, 3, phases=phases, seed=5)
    p = s.predict(Q)
    paths = s.sample_paths(2000, seed=0)(torch.as_tensor(Q)).numpy()
    assert np.abs((paths.mean(0) - p.mean) / p.sd).max() < 0.15
    np.testing.assert_allclose(paths.std(0), p.sd, rtol=0.25)
