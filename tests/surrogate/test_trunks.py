"""Runs that share a trunk: small intervals of differences, true intervals of absolute values."""

from itertools import product

import numpy as np
import pytest
import torch

from mixopt.errors import SurrogateError
from mixopt.space import Layout
from mixopt.surrogate import SurrogateSettings, fit_surrogate

QUICK = SurrogateSettings(
    restarts=1, iterations=20, laws=("shared law",), gp_iterations=30, folds=3
)
NAMES = ("a", "b"), ("p", "q", "r")
NOISE = 0.01


def truth(R):
    return np.stack([2 + np.exp(-2 * R[:, 0]), 1.5 + 0.5 * (R[:, 1] - 0.3) ** 2], axis=1)


def world(trunks, sd, seed, n=20):
    """Endings of some trunks, evenly, and the losses of mixtures never seen."""
    rng = np.random.default_rng(seed)
    X, Q = rng.dirichlet(np.ones(3), n), rng.dirichlet(np.ones(3), 8)
    groups = np.arange(n) % trunks
    effect = sd * rng.standard_normal((trunks, 2))
    Y = truth(X) + effect[groups] + NOISE * rng.standard_normal((n, 2))
    return X, Y, groups, Q


def fit(X, Y, groups, seed=0):
    return fit_surrogate(Layout(3), X, Y, *NAMES, groups=groups, settings=QUICK, seed=seed)


def differences(fitted, Q):
    """Standard deviations ``q - 1 x m`` of the losses over the first's."""
    cov = fitted.posterior(torch.as_tensor(Q)).distribution.covariance_matrix.numpy()
    m = len(fitted.metrics)
    parts = [cov[k::m, k::m] for k in range(m)]
    return np.sqrt([np.diag(C)[1:] + C[0, 0] - 2 * C[0, 1:] for C in parts]).T


def test_absolute_values_are_covered_whatever_the_size_of_the_effects():
    # Sds of effects as their prior has them: scaled-inverse-chi-squared around the noise.
    inside = []
    for trunks, seed in product((2, 3, 5), range(8)):
        sd = NOISE * np.sqrt(2.0 / np.random.default_rng([trunks, seed]).chisquare(2.0))
        X, Y, groups, Q = world(trunks, sd, seed)
        p = fit(X, Y, groups, seed).predict(Q)
        inside.append((np.abs(p.mean - truth(Q)) <= 1.96 * p.sd).mean())
    assert np.mean(inside) >= 0.87


def test_differences_are_covered_and_surer_than_absolute_values():
    apart, ratio = [], []
    for trunks, seed in product((1, 3), range(4)):
        X, Y, groups, Q = world(trunks, 0.1, seed)
        fitted = fit(X, Y, groups, seed)
        p, T = fitted.predict(Q), truth(Q)
        error = (p.mean - p.mean[0]) - (T - T[0])
        sd = differences(fitted, Q)
        apart.append((np.abs(error[1:]) <= 1.96 * sd).mean())
        ratio.append((sd / p.sd[1:]).mean())
    # With so few rows and so little effort the intervals cover no more without any trunks.
    assert np.mean(apart) >= 0.75
    assert np.mean(ratio) < 0.5


def test_without_shared_trunks_nothing_changes():
    X, Y, _, Q = world(1, 0.0, 3)
    none, own = fit(X, Y, None), fit(X, Y, np.arange(len(X))[::-1])
    np.testing.assert_array_equal(none.predict(Q).mean, own.predict(Q).mean)
    np.testing.assert_array_equal(none.predict(Q).observation_sd, own.predict(Q).observation_sd)
    assert none.trunks is own.trunks is None
    assert (none.level == 0).all()


def test_one_trunk_widens_the_level_and_leaves_the_differences():
    X, Y, groups, Q = world(1, 0.1, 4)
    none, one = fit(X, Y, None), fit(X, Y, groups)
    np.testing.assert_allclose(one.predict(Q).mean, none.predict(Q).mean, rtol=1e-9)
    np.testing.assert_allclose(differences(one, Q), differences(none, Q), rtol=1e-4)
    level = np.diagonal(one.level)
    np.testing.assert_allclose(one.predict(Q).sd ** 2, none.predict(Q).sd ** 2 + level)
    assert (np.sqrt(level) > 2 * none.predict(Q).sd.mean(0)).all()
    assert (one.predict(Q).observation_sd > np.sqrt(2 * level)).all()


def test_fewer_trunks_leave_the_level_less_known():
    levels = []
    for trunks in (3, 10):
        found = [fit(*world(trunks, 0.1, seed)[:3]).trunks for seed in range(6)]
        levels.append(np.mean([np.sqrt(np.diagonal(t.level)) for t in found]))
    assert levels[0] > 1.2 * levels[1]


def test_draws_paths_and_predictions_agree():
    X, Y, groups, Q = world(3, 0.1, 5)
    fitted = fit(X, Y, groups)
    p = fitted.predict(Q)
    paths = fitted.sample_paths(1500, 0)(torch.as_tensor(Q)).numpy()
    # Paths leave out the members' disagreement, and random features some of the rest.
    ratio = paths.std(0) / p.sd
    assert ((ratio > 0.5) & (ratio < 1.3)).all()
    found = fitted.posterior(torch.as_tensor(Q)).variance.sqrt().numpy()
    np.testing.assert_allclose(found, p.sd, rtol=1e-3)


def test_losses_out_of_fold_are_those_of_the_rows_own_trunk():
    X, Y, groups, _ = world(2, 0.3, 6)
    unseen = fit(X, Y, groups).out_of_fold
    assert np.abs(Y - unseen.mean).mean() < 0.1
    assert (np.abs(Y - unseen.mean) <= 1.96 * unseen.observation_sd).mean() > 0.8


def test_some_metrics_keep_their_trunks():
    X, Y, groups, Q = world(3, 0.1, 7)
    fitted = fit(X, Y, groups)
    np.testing.assert_allclose(
        fitted.only(["b"]).predict(Q).observation_sd[:, 0], fitted.predict(Q).observation_sd[:, 1]
    )


def test_groups_need_one_number_per_row():
    X, Y, *_ = world(1, 0.1, 0)
    with pytest.raises(SurrogateError, match=r"trunk of each of the 20 rows; got shape \(3,\)"):
        fit(X, Y, np.zeros(3, dtype=int))
