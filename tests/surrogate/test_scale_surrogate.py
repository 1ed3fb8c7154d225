"""One model of several sizes and lengths: recovery, honesty, and the protocol it must meet."""

import numpy as np
import pytest
import torch
from drawn import drawn_variance

from mixopt.errors import SurrogateError
from mixopt.space import Fidelity, Layout
from mixopt.surrogate import (
    FidelityRows,
    SurrogateSettings,
    fidelity_agreement,
    fit_scale_surrogate,
)
from mixopt.surrogate.multifidelity import scale_surrogate
from mixopt.surrogate.multifidelity.scale_gp import (
    ScalePrior,
    _Covariance,
    _observed,
    fit_scale_gp,
)

LAYOUT = Layout(3)
EFFORT = SurrogateSettings(
    restarts=2, iterations=60, laws=("shared law",), gp_iterations=40, folds=3
)
LOW, HIGH = Fidelity(parameters=10**7, tokens=10**9), Fidelity(parameters=10**8, tokens=10**10)
NAMES = ("a", "b"), ("p", "q", "r")


def place(parameters, tokens):
    """A target as a row; its mixture does not matter."""
    return FidelityRows(np.eye(3)[:1], *(np.array([v]) for v in (parameters, tokens, -1)))


def truth(X, n, d):
    """A law all mixtures share plus a bowl that grows a little with size."""
    level = 1.2 + 0.6 * (n / 1e8) ** -0.2 + 0.5 * (d / 1e10) ** -0.25
    spread = 1.0 + 0.1 * np.log10(n / 1e8)
    bowls = [((X - c) ** 2).sum(1) for c in ([0.6, 0.3, 0.1], [0.1, 0.3, 0.6])]
    return np.stack([level + spread * 0.5 * b for b in bowls], axis=1)


def trials(low=14, high=4, noise=0.002, seed=0, disagree=0.0):
    """Rows at two fidelities; the high ones repeat low mixtures."""
    rng = np.random.default_rng(seed)
    X = rng.dirichlet(np.ones(3), low)
    X = np.vstack([X, X[:high]])
    n = np.repeat([1e7, 1e8], [low, high])
    d = np.repeat([1e9, 1e10], [low, high])
    Y = np.vstack([truth(x[None], *s) for x, *s in zip(X, n, d, strict=True)])
    Y[:low] += disagree * (X[:low] ** 2 @ rng.standard_normal((3, 2)))
    return X, n, d, Y + noise * rng.standard_normal(Y.shape)


def fit(rows, target=HIGH, **changes):
    X, n, d, Y = rows
    return fit_scale_surrogate(
        LAYOUT, X, n, d, Y, *NAMES, target=target, settings=EFFORT, **changes
    )


@pytest.fixture(scope="module")
def model():
    return fit(trials())


@pytest.fixture(scope="module")
def unseen():
    X = np.random.default_rng(9).dirichlet(np.ones(3), 40)
    return X, truth(X, 1e8, 1e10)


def test_the_target_is_predicted_from_few_high_fidelity_runs(model, unseen):
    X, Y = unseen
    p = model.predict(X)
    assert np.abs(p.mean - Y).mean() < 0.03 < 0.5 * Y.std(0).min()
    assert (np.abs(p.mean - Y) <= 1.96 * p.sd).mean() > 0.85
    assert np.median(p.sd) < 0.1


def test_extrapolated_losses_are_those_of_the_target(model):
    X, n, *_, Y = trials()
    want = truth(X, 1e8, 1e10)
    assert np.abs(model.extrapolated - want).max() < 0.05
    high = n == 1e8
    np.testing.assert_array_equal(model.extrapolated[high], Y[high])
    assert (model.extrapolated_var[high] == 0).all()
    assert (model.extrapolated_var[~high] >= 0).all()


def test_a_target_never_run_is_less_sure_but_inside(unseen):
    X, _ = unseen
    far = Fidelity(parameters=10**9, tokens=10**11)
    rows = trials()
    near, beyond = fit(rows).predict(X), fit(rows, far).predict(X)
    assert (beyond.sd > 1.5 * near.sd).mean() > 0.9
    gap = np.abs(beyond.mean - truth(X, 1e9, 1e11))
    assert (gap <= 1.96 * beyond.sd).mean() > 0.85


def test_the_level_moves_all_predictions_alike(model, unseen):
    X = torch.as_tensor(unseen[0][:3])
    cov = model.posterior(X).distribution.covariance_matrix
    base = model.base.posterior(X).distribution.covariance_matrix
    np.testing.assert_allclose(cov - base, np.kron(np.ones((3, 3)), model.level), atol=1e-12)
    assert np.linalg.eigvalsh(model.level).min() > 0
    sd = model.predict(unseen[0][:3]).sd
    found = model.posterior(X).variance.sqrt().numpy()
    np.testing.assert_allclose(found, sd, rtol=0.02)
    paths = model.sample_paths(400, 0)(X).numpy()
    assert paths.shape == (400, 3, 2)
    drawn = np.sqrt(drawn_variance(model.base.model, X) + np.diag(model.level))
    np.testing.assert_allclose(paths.std(0), drawn, rtol=0.35)


def test_some_of_the_metrics(model, unseen):
    one = model.only(["b"])
    np.testing.assert_allclose(
        one.predict(unseen[0]).mean[:, 0], model.predict(unseen[0]).mean[:, 1]
    )
    assert one.posterior(torch.as_tensor(unseen[0][:2])).variance.shape == (2, 1)
    assert one.extrapolated.shape == (18, 1)
    assert [row.metric for row in one.report()] == ["b"]
    assert one.report()[0].level_sd > 0


def test_one_fidelity_at_the_target_extrapolates_nothing():
    X, *_, Y = trials(low=8, high=0)
    same = fit((X, np.full(8, 1e8), np.full(8, 1e10), Y))
    np.testing.assert_array_equal(same.extrapolated, Y)
    assert (same.level == 0).all()


def test_intervals_cover_over_many_worlds():
    """Losses drawn with laws, noise and bowls of their own: coverage at a target never run."""
    hits = []
    for seed in range(8):
        rng = np.random.default_rng(100 + seed)
        alpha, beta, k = rng.uniform(0.1, 0.4, 3)
        mixtures = rng.dirichlet(np.ones(3), 8)
        bowl = 0.3 * (mixtures**2).sum(1)
        grid = [(i, n, d) for i in range(8) for n in (1e7, 3e7, 1e8) for d in (1e9, 2e9, 4e9)]

        def loss(i, n, d, a=alpha, b=beta, k=k, bowl=bowl):
            law = 1.5 + 0.4 * (n / 1e8) ** -a + 0.4 * (d / 4e9) ** -b
            return law + bowl[i] * (n / 1e8) ** (0.1 * k)

        at = np.array(grid)
        i = at[:, 0].astype(int)
        rows = FidelityRows(mixtures[i], at[:, 1], at[:, 2], np.full(len(at), -1))
        Y = np.array([loss(*g) for g in grid]) + 0.003 * rng.standard_normal(len(at))
        gp = fit_scale_gp(rows, Y[:, None], place(3e8, 8e9))
        mean, cov = gp.moments([(1.0, rows.take(np.arange(0, 72, 9)).at(place(3e8, 8e9)))])
        error = mean[:, 0] - [loss(j, 3e8, 8e9) for j in range(8)]
        hits.append((np.abs(error) <= 1.96 * np.sqrt(np.diag(cov[0]))).mean())
    assert np.mean(hits) > 0.85


def test_a_run_left_out_agrees_with_refitting_without_it():
    X, n, d, Y = trials(low=8, high=2)
    rows, goal = FidelityRows(X, n, d, np.full(10, -1)), place(2e8, 1e10)
    gp = fit_scale_gp(rows, Y, goal, iterations=5)
    change, variance, shared = gp.change(np.arange(10))
    rest = np.arange(10) != 3
    without = gp.conditioned(rows.take(np.flatnonzero(rest)), Y[rest])
    one = rows.take(np.array([3]))
    mean, cov = without.moments([(1.0, one.at(goal)), (-1.0, one)])
    # The nodes' weights differ by what the row says of the exponents, hence the tolerance.
    np.testing.assert_allclose(change[3], mean[0], atol=0.02)
    np.testing.assert_allclose(np.sqrt(variance[3]), np.sqrt(cov[:, 0, 0]), rtol=0.3)
    assert (shared > 0).all()
    assert (shared < variance.max(0)).all()


def test_the_slopes_of_the_covariance_are_its_derivatives():
    X, n, d, _ = trials(low=6, high=2)
    rows = FidelityRows(X, n, d, np.array([0, 0, 1, 2, 3, 4, 5, 6]))
    pair = _Covariance(rows, rows, place(3e8, 8e9))
    rng = np.random.default_rng(0)
    theta = ScalePrior().vectors()[0] + 0.3 * rng.standard_normal(14)
    G = rng.standard_normal((8, 8))
    G = G + G.T
    found = pair.slopes(theta, G)
    for k in range(14):
        step = 1e-5 * np.eye(14)[k]
        up, down = (_observed(pair, theta + s) for s in (step, -step))
        assert found[k] == pytest.approx((G * (up - down)).sum() / 2e-5, rel=1e-4, abs=1e-6)


def test_checkpoints_of_a_run_extrapolate_its_end():
    X, n, d, Y = trials(low=6, high=2)
    runs = np.arange(8)
    early = truth(X[:1], 1e7, 0.6e9), truth(X[:1], 1e7, 0.1e9)
    rows = np.vstack([X, X[:1], X[:1]]), np.r_[n, 1e7, 1e7], np.r_[d, 0.6e9, 0.1e9]
    got = fit((*rows, np.vstack([Y, *early])), runs=np.r_[runs, 0, 0])
    assert got.ends.tolist() == runs.tolist()
    assert got.extrapolated.shape == (8, 2)
    assert np.abs(got.extrapolated - truth(X, 1e8, 1e10)).max() < 0.15


def test_more_runs_than_the_process_holds_are_extrapolated_all_the_same(monkeypatch):
    monkeypatch.setattr(scale_surrogate, "_CONDITIONED_ON", 12)
    X, n, d, Y = trials(low=24, high=6)
    got = fit((X, n, d, Y))
    assert np.abs(got.extrapolated - truth(X, 1e8, 1e10)).max() < 0.1
    assert (got.extrapolated_var[n == 1e7] >= 0).all()


def test_many_runs_of_few_mixtures_are_pooled_at_the_target(monkeypatch):
    monkeypatch.setattr(scale_surrogate, "_POOLED_FROM", 10)
    rows = trials(low=14, high=4)
    got, X = fit(rows), rows[0]
    assert got.pooled.tolist()[14:] == got.pooled.tolist()[:4]
    assert got.out_of_fold.mean.shape == got.extrapolated.shape == (18, 2)
    np.testing.assert_array_equal(got.out_of_fold.mean[:4], got.out_of_fold.mean[14:])
    apart = np.abs(got.predict(X).mean - truth(X, 1e8, 1e10))
    assert apart.mean() < 0.03


def test_rank_agreement_needs_no_grid():
    X, n, d, Y = trials(low=9, high=5, noise=0.0)
    found = fidelity_agreement(X, n, d, Y)
    assert [(a.low, a.high, a.mixtures) for a in found] == [(LOW, HIGH, 5)]
    assert found[0].spearman == pytest.approx(1.0)
    assert fidelity_agreement(*(v[:11] for v in (X, n, d, Y))) == ()
    shuffled = Y.copy()
    shuffled[9:] = -shuffled[9:]
    assert fidelity_agreement(X, n, d, shuffled)[0].spearman == pytest.approx(-1.0)


def test_a_cheap_run_tells_less_where_ranks_disagree():
    X = np.random.default_rng(3).dirichlet(np.ones(3), 5)
    w, base = np.array([0.5, 0.5]), np.full(3, 1 / 3)
    ratio = []
    for disagree in (0.0, 1.0):
        rows = trials(low=12, high=8, disagree=disagree)
        told = fit(rows).information(X, [LOW, HIGH], base, w)
        assert (told > 0).all()
        ratio.append((told[:, 0] / told[:, 1]).mean())
    assert ratio[1] < 0.65 * ratio[0]


def test_what_cannot_be_used_is_refused():
    X, n, d, Y = trials(low=6, high=2)
    with pytest.raises(SurrogateError, match="8 rows need as many parameters and tokens"):
        fit((X, n[:3], d, Y))
    with pytest.raises(SurrogateError, match=r"tokens of every row .* must be positive; got \[0.0"):
        fit((X, n, d * 0, Y))
    with pytest.raises(SurrogateError, match="the weights of a phase must sum to 1; row 2"):
        fit((X * (1 + (np.arange(8) == 2))[:, None], n, d, Y))
