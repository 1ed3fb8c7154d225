"""The noise of one observation, learned from replicates."""

from dataclasses import replace

import numpy as np
import pytest

from mixopt.errors import SurrogateError
from mixopt.space import Layout
from mixopt.surrogate import SurrogateSettings, fit_surrogate
from mixopt.surrogate.ensemble.data import Data
from mixopt.surrogate.ensemble.noise import concentration, learn_noise, replicates

QUICK = SurrogateSettings(restarts=2, iterations=80, laws=("shared law",), gp_iterations=40)
DOMAINS = ("a", "b", "c", "d")


def truth(X, m=4):
    use = np.random.default_rng(3).uniform(0.1, 1.0, (X.shape[1], m))
    return 2 + 0.5 * (0.05 + X @ use) ** -0.7


def simulated(seed, groups=8, seeds=3, singles=24, base=0.01, trend=0.5, vertex=0.0):
    """Rows with replicates, the losses' noise rising with the level and near the vertices."""
    rng = np.random.default_rng(seed)
    X = rng.dirichlet(np.full(4, 0.7), groups + singles)
    X = np.vstack([np.repeat(X[:groups], seeds, axis=0), X[groups:]])
    clean = truth(X)
    return X, clean, clean + noise_sd(X, base, trend, vertex) * rng.standard_normal(clean.shape)


def noise_sd(X, base, trend, vertex=0.0):
    like = np.random.default_rng(99).dirichlet(np.full(4, 0.7), 400)
    t = (truth(X) - truth(like).mean(0)) / truth(like).std(0)
    c, at = (X**2).sum(1), (like**2).sum(1)
    u = (c - at.mean()) / at.std()
    return base * np.exp(trend * np.clip(t, -2, 2) + vertex * np.clip(u, -2, 2)[:, None])


def as_data(X, Y):
    n = len(X)
    names = tuple(f"m{i}" for i in range(Y.shape[1]))
    return Data(X[:, None, :], np.ones((n, 1)), np.empty((n, 0)), Y, names, DOMAINS, 0)


def test_a_known_noise_with_a_trend_is_recovered():
    """8 schedules x 3 seeds: 16 degrees of freedom per metric; the claim is 3 times too high."""
    ratios, slopes = [], []
    for seed in range(12):
        X, _, Y = simulated(seed)
        data = as_data(X, Y)
        found = learn_noise(data, np.full(4, 0.03**2), np.full(4, 0.2))
        at = np.sqrt(found.at(truth(X), data.W, data.F))
        ratios.append(np.log(at / noise_sd(X, 0.01, 0.5)).ravel())
        slopes.append(found.trend.mean().item())
    assert abs(np.mean(ratios)) < 0.1
    assert np.abs(ratios).mean() < 0.3
    assert 0.35 < np.mean(slopes) < 0.65


def test_noise_near_the_vertices_is_recovered():
    slopes = []
    for seed in range(12):
        X, _, Y = simulated(seed, groups=12, trend=0.0, vertex=0.5)
        found = learn_noise(as_data(X, Y), np.full(4, 0.01**2), np.zeros(4))
        slopes.append(found.vertex[0].item())
    assert 0.25 < np.mean(slopes) < 0.6


def test_few_replicates_move_the_claim_little():
    X, _, Y = simulated(0, groups=1, seeds=2, base=0.1)
    found = learn_noise(as_data(X, Y), np.full(4, 0.01**2), np.full(4, 0.2))
    moved = np.log(np.sqrt(found.base.numpy()) / 0.01)
    assert (moved < np.log(10)).all()
    assert found.trend.numpy() == pytest.approx(np.full(4, 0.2), abs=0.3)


def test_a_run_told_twice_is_no_replicate():
    X, _, Y = simulated(1, groups=0)
    data = as_data(np.vstack([X, X[:5]]), np.vstack([Y, Y[:5]]))
    assert replicates(data) is None
    assert learn_noise(data, np.ones(4), np.zeros(4)) is None


def test_metrics_that_share_their_luck_count_as_one():
    rng = np.random.default_rng(0)
    X, clean, _ = simulated(2, groups=12)
    luck = rng.standard_normal((len(X), 1))
    together = replicates(as_data(X, clean + 0.01 * luck))
    apart = replicates(as_data(X, clean + 0.01 * rng.standard_normal(clean.shape)))
    assert together.effective == pytest.approx(1.0, abs=1e-6)
    assert apart.effective > 3


def test_the_surrogate_reports_the_learned_noise():
    X, _, Y = simulated(4, groups=10)
    layout, names = Layout(4), tuple(f"m{i}" for i in range(4))
    fitted = fit_surrogate(layout, X, Y, names, DOMAINS, settings=QUICK)
    noise = fitted.model.noise
    assert noise is not None
    assert fitted.noise_sd == pytest.approx(np.sqrt(noise.base.numpy()))
    new = np.random.default_rng(7).dirichlet(np.full(4, 0.7), 200)
    got = fitted.predict(new)
    sd = np.sqrt(got.observation_sd**2 - got.sd**2)
    error = np.log(sd / noise_sd(new, 0.01, 0.5))
    assert np.abs(error).mean() < 0.35
    flat = np.log(np.sqrt((sd**2).mean(0)) / noise_sd(new, 0.01, 0.5))
    assert np.abs(error).mean() < np.abs(flat).mean()
    part = fitted.only(["m2"])
    assert part.predict(new).observation_sd[:, 0] == pytest.approx(got.observation_sd[:, 2])
    noisy = fitted.posterior(torch_rows(new[:5]), observation_noise=True).variance
    assert noisy.sqrt().detach().numpy() == pytest.approx(got.observation_sd[:5], rel=1e-3)


def torch_rows(X):
    import torch

    return torch.as_tensor(X)


def test_intervals_of_new_observations_hold():
    inside = []
    for seed in range(3):
        X, _, Y = simulated(10 + seed)
        names = tuple(f"m{i}" for i in range(4))
        fitted = fit_surrogate(Layout(4), X, Y, names, DOMAINS, settings=QUICK, seed=seed)
        rng = np.random.default_rng(100 + seed)
        new = rng.dirichlet(np.full(4, 0.7), 300)
        seen = truth(new) + noise_sd(new, 0.01, 0.5) * rng.standard_normal((300, 4))
        got = fitted.predict(new)
        inside.append((np.abs(seen - got.mean) < 1.96 * got.observation_sd).mean())
    assert 0.9 < np.mean(inside) < 0.99


def test_without_replicates_nothing_is_learned():
    X, _, Y = simulated(5, groups=0)
    names = tuple(f"m{i}" for i in range(4))
    assert fit_surrogate(Layout(4), X, Y, names, DOMAINS, settings=QUICK).model.noise is None
    X, _, Y = simulated(5)
    known = fit_surrogate(
        Layout(4), X, Y, names, DOMAINS, settings=QUICK, Yvar=np.full_like(Y, 1e-4)
    )
    assert known.model.noise is None


def test_concentration_is_one_at_a_vertex():
    W, F = np.eye(3)[None], np.array([[0.2, 0.3, 0.5]])
    assert concentration(np.eye(3)[:, None], np.ones((3, 1))) == pytest.approx(np.ones(3))
    assert concentration(W, F) == pytest.approx([0.2**2 + 0.3**2 + 0.5**2])


def test_rows_with_more_noise_weigh_less():
    from mixopt.surrogate.ensemble.kernel import Prior
    from mixopt.surrogate.ensemble.members import GPSetting, warped_member, with_noise

    X, _, Y = simulated(6, groups=0, singles=20, base=1e-4)
    Y[3] += 0.5
    data = as_data(X, Y)
    fold = np.arange(20) % 4
    member = warped_member(data, GPSetting(fold, np.zeros_like(Y), Prior(), 30))
    same = with_noise(data, member, np.ones_like(Y))
    assert same.out_of_fold == pytest.approx(member.out_of_fold)
    assert same.variance == pytest.approx(member.variance)
    relative = np.ones_like(Y)
    relative[3] = 1e6
    told = with_noise(data, member, relative)
    rows = [torch_rows(part[[3]]) for part in data.rows]
    off, was = (np.abs(k.mean(*rows).numpy() - data.Y[3]).sum() for k in (told, member))
    assert off > was
    assert (told.variance[3] > member.variance[3]).all()


def test_losses_that_are_predictions_count_by_what_they_may_be_off():
    """Half the rows are off by ten times the noise, and the fit is told so."""
    alone, names = replace(QUICK, laws=()), [f"m{i}" for i in range(4)]
    errors = []
    for seed in (1, 2, 3):
        rng = np.random.default_rng(seed)
        X, _, Y = simulated(seed, groups=0, singles=40, trend=0.0)
        off = np.zeros_like(Y)
        off[::2] = 0.1**2
        given = (Layout(4), X, Y + np.sqrt(off) * rng.standard_normal(Y.shape), names, DOMAINS)
        told = fit_surrogate(*given, uncertainty=off, settings=alone)
        wrong = fit_surrogate(*given, settings=alone)
        test = rng.dirichlet(np.full(4, 0.7), 100)
        errors.append([((f.predict(test).mean - truth(test)) ** 2).mean() for f in (told, wrong)])
    told_error, wrong_error = np.sqrt(np.mean(errors, axis=0))
    assert told_error < 0.7 * wrong_error
    # It is no noise of new runs, and part of the rows' own errors out of fold.
    assert told.noise_sd.mean() < 0.5 * wrong.noise_sd.mean()
    sd = told.out_of_fold.observation_sd
    assert sd[::2].min() > 2 * np.median(sd[1::2])
    with pytest.raises(SurrogateError, match="one non-negative variance per loss"):
        fit_surrogate(*given, uncertainty=off[:3], settings=alone)


def test_replicates_that_are_predictions_say_nothing_of_the_noise():
    X, _, Y = simulated(0)
    data = as_data(X, Y)
    off = np.zeros_like(Y)
    off[2:24:3] = 1.0
    far = as_data(X, Y + 5.0 * np.sqrt(off))
    found = replicates(replace(far, uncertain=off))
    kept = as_data(X[off[:, 0] == 0], Y[off[:, 0] == 0])
    assert found.variance == pytest.approx(replicates(kept).variance)
    assert len(replicates(data).freedom) == len(found.freedom)
