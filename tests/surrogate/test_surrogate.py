"""The surrogate's promises: what it accepts, how it falls back, and what its answers obey."""

import numpy as np
import pytest
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.objective import LinearMCObjective
from botorch.sampling import SobolQMCNormalSampler
from drawn import drawn_variance

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
    assert all("only 2 different schedules" in row.fallback for row in s.report())


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
def test_paths_have_the_posteriors_mean_and_the_last_gps_sd(phases):
    X, Y = landscape(16, 3, phases=phases)
    s = fit_surrogate(Layout(3, phases), X, Y, ["d0", "d1"], names(3), settings=QUICK)
    Q, _ = landscape(10, 3, phases=phases, seed=5)
    p = s.predict(Q)
    paths = s.sample_paths(2000, seed=0)(torch.as_tensor(Q)).numpy()
    assert np.abs((paths.mean(0) - p.mean) / p.sd).max() < 0.15
    # Random features of a Matern kernel leave out some of the variance, here and there a third.
    drawn = drawn_variance(s.model, torch.as_tensor(Q))
    assert (drawn <= p.sd**2 * (1 + 1e-9)).all()
    ratio = paths.std(0) / np.sqrt(drawn)
    assert ratio.mean() == pytest.approx(1, abs=0.12)
    assert ((ratio > 0.6) & (ratio < 1.25)).all()


def law_true(R):
    return 2 + np.exp(R @ np.array([-2.0, 0.3, 0.1, 0.0]))


def law_wrong(R):
    return 2.5 + 0.3 * np.sin(6 * R[:, 0]) + 0.5 * (R[:, 1] - 0.4) ** 2


def dead_domain(R):
    return 2 + 0.5 * (0.05 + R[:, 0] + 0.3 * R[:, 1]) ** -0.5


LANDSCAPES = {"law true": law_true, "law wrong": law_wrong, "dead domain": dead_domain}
MEMBERS = ["M4", "effective data", "shared law", "warped GP", "law GP"]


def only(monkeypatch, name):
    """Let one member alone carry the stack."""
    monkeypatch.setattr("mixopt.surrogate.ensemble.surrogate.DEFAULT_WEIGHTS", {name: 1.0})
    monkeypatch.setattr("mixopt.surrogate.ensemble.stack._SURE", np.inf)


@pytest.mark.parametrize("landscape_name", LANDSCAPES)
@pytest.mark.parametrize("member", [*MEMBERS, "stack"])
def test_every_member_on_every_landscape(member, landscape_name, monkeypatch):
    if member != "stack":
        only(monkeypatch, member)
    rng, truth = np.random.default_rng(7), LANDSCAPES[landscape_name]
    R, Q = rng.dirichlet(np.ones(4), 40), rng.dirichlet(np.ones(4), 60)
    noise = 0.03 * truth(Q).std()
    Y = np.stack([truth(R), truth(R[:, [1, 0, 2, 3]])], axis=1)
    Y += noise * rng.standard_normal(Y.shape)
    s = fit_surrogate(Layout(4), R, Y, ["d0", "d1"], names(4), settings=QUICK)
    p = s.predict(Q)
    error = np.abs(p.mean[:, 0] - truth(Q))
    fits = landscape_name != "law wrong" or member in ("warped GP", "law GP", "stack")
    assert np.sqrt((error**2).mean()) < (0.25 if fits else 1.3) * truth(Q).std()
    assert (error <= 2.5 * p.observation_sd[:, 0]).mean() > 0.8
    weights = s.report()[0].weights
    assert sum(weights.values()) == pytest.approx(1.0)
    if member != "stack":
        assert weights[member] == 1.0


def test_a_wrong_law_loses_its_weight_and_the_report_says_so():
    rng = np.random.default_rng(3)
    R = rng.dirichlet(np.ones(3), 60)
    Y = 2.5 + 0.5 * np.sin(9 * R[:, :1]) + 0.002 * rng.standard_normal((60, 1))
    row = fit_surrogate(Layout(3), R, Y, ["d0"], names(3), settings=QUICK).report()[0]
    assert row.weights["shared law"] < 0.2
    assert "clearly worse" in row.fallback


def test_near_duplicate_domains_predict_alike():
    rng = np.random.default_rng(2)
    R = rng.dirichlet(np.ones(4), 40)
    Y = (2 + np.exp(-2 * (R[:, 0] + R[:, 1])))[:, None] + 0.005 * rng.standard_normal((40, 1))
    s = fit_surrogate(Layout(4), R, Y, ["other"], names(4), settings=QUICK)
    Q = rng.dirichlet(np.ones(4), 30)
    swapped = Q[:, [1, 0, 2, 3]]
    assert np.abs(s.predict(Q).mean - s.predict(swapped).mean).max() < 0.1 * np.ptp(Y)


def test_a_constant_metric_is_predicted_by_its_constant():
    X, Y = landscape(20, 3)
    Y[:, 1] = 3.25
    s = fit_surrogate(Layout(3), X, Y, ["d0", "d1"], names(3), settings=QUICK)
    np.testing.assert_allclose(s.predict(X).mean[:, 1], 3.25, atol=1e-6)
    assert "never changes" in s.report()[1].fallback
    assert "never changes" not in s.report()[0].fallback


@pytest.mark.parametrize(("n", "d", "phases", "m"), [(1, 2, 1, 1), (7, 2, 2, 1), (9, 17, 1, 3)])
def test_small_and_odd_sizes(n, d, phases, m):
    X, Y = landscape(n, d, phases=phases, metrics=m)
    s = fit_surrogate(Layout(d, phases), X, Y, names(d)[:m], names(d), settings=QUICK)
    p = s.predict(X)
    assert p.mean.shape == p.sd.shape == (n, m)
    assert (p.sd > 0).all()
    assert (p.observation_sd > p.sd).all()


def test_replicates_inform_the_noise():
    X, Y = landscape(12, 3, noise=0.0)
    X, Y = np.repeat(X, 3, axis=0), np.repeat(Y, 3, axis=0)
    Y += 0.05 * np.random.default_rng(0).standard_normal(Y.shape)
    s = fit_surrogate(Layout(3), X, Y, ["d0", "d1"], names(3), settings=QUICK)
    assert (s.noise_sd > 0.025).all()
    assert (s.noise_sd < 0.1).all()


def test_intervals_cover_and_grow_where_little_was_seen():
    X, Y = landscape(30, 4, noise=0.02)
    s = fit_surrogate(Layout(4), X, Y, ["d0", "d1"], names(4), settings=QUICK)
    Q, T = landscape(300, 4, noise=0.02, seed=9)
    p = s.predict(Q)
    assert 0.85 < (np.abs(p.mean - T) <= 1.96 * p.observation_sd).mean() <= 1.0
    centre = s.predict(np.full((1, 4), 0.25)).sd.mean()
    assert s.predict(np.eye(4)).sd.mean() > 1.2 * centre


@pytest.mark.parametrize("phases", [1, 2])
def test_a_botorch_acquisition_runs_with_gradients(phases):
    X, Y = landscape(12, 3, phases=phases)
    s = fit_surrogate(Layout(3, phases), X, Y, ["d0", "d1"], names(3), settings=QUICK)
    T = torch.as_tensor(X)
    acquisition = qLogNoisyExpectedImprovement(
        s.model,
        T,
        sampler=SobolQMCNormalSampler(torch.Size([16]), seed=0),
        objective=LinearMCObjective(torch.tensor([-0.5, -0.5], dtype=torch.float64)),
        cache_root=False,
        prune_baseline=False,
        X_pending=T[:1],
    )
    candidates = T[:6].reshape(3, 2, -1).clone().requires_grad_()
    value = acquisition(candidates)
    value.sum().backward()
    assert value.shape == (3,)
    assert torch.isfinite(candidates.grad).all()


def test_posterior_agrees_with_predict():
    X, Y = landscape(12, 3)
    s = fit_surrogate(Layout(3), X, Y, ["d0", "d1"], names(3), settings=QUICK)
    Q = torch.as_tensor(landscape(6, 3, seed=4)[0]).reshape(2, 3, 3)
    p = s.predict(Q.reshape(6, 3).numpy())
    for noisy, sd in ((False, p.sd), (True, p.observation_sd)):
        posterior = s.posterior(Q, observation_noise=noisy)
        np.testing.assert_allclose(posterior.mean.reshape(6, 2), p.mean, rtol=1e-8)
        np.testing.assert_allclose(posterior.variance.reshape(6, 2).sqrt(), sd, rtol=1e-4)


def test_known_variances_are_checked_and_used():
    X, Y = landscape(12, 3)
    with pytest.raises(SurrogateError, match="one non-negative variance per loss"):
        fit_surrogate(Layout(3), X, Y, ["d0", "d1"], names(3), Yvar=-np.ones_like(Y))
    Yvar = np.full_like(Y, 1e-6)
    Yvar[0] = 1.0
    Y[0] += 0.5
    s = fit_surrogate(Layout(3), X, Y, ["d0", "d1"], names(3), Yvar=Yvar, settings=QUICK)
    x = s.model.embed(torch.as_tensor(X[:1]))[1]
    at_row = s.model.gp.mean(s.model.gp.cross(x)).numpy()
    assert np.abs(at_row - Y[0]).min() > 0.3


def test_the_same_seed_gives_the_same_surrogate():
    X, Y = landscape(14, 3)
    a, b = (
        fit_surrogate(Layout(3), X, Y, ["d0", "d1"], names(3), settings=QUICK, seed=5).predict(X)
        for _ in range(2)
    )
    np.testing.assert_array_equal(a.mean, b.mean)
    np.testing.assert_array_equal(a.sd, b.sd)


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(SurrogateError, match="at least one row and one metric"):
        fit_surrogate(Layout(3), np.zeros((0, 3)), np.zeros((0, 1)), ["d0"], names(3))
