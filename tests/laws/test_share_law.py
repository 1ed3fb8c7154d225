import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixopt.errors import SurrogateError
from mixopt.laws.share_law import (
    ShareLaw,
    critical_share,
    fit_share_law,
    share_noise,
    solve_critical_share,
)

SHARES = np.array([0.05, 0.125, 0.25, 0.375, 0.5, 0.75])
TRUTH = ShareLaw(2.8, -4.0, -1.7)


@given(
    c=st.floats(1.0, 4.0), k=st.floats(-15.0, -1.0), b=st.floats(-3.0, 0.0), r=st.floats(0.05, 0.9)
)
def test_the_law_and_its_crossing_are_recovered(c, k, b, r):
    law = ShareLaw(c, k, b)
    fit = fit_share_law(SHARES, law.predict(SHARES))
    np.testing.assert_allclose(fit.predict(SHARES), law.predict(SHARES), atol=1e-5)
    base = float(law.predict(np.array([r]))[0])
    assert solve_critical_share(law, base) == pytest.approx(r, abs=1e-6)


def test_no_old_data_is_needed_where_none_is_lost():
    assert solve_critical_share(TRUTH, 5.0) == 0.0


def test_a_loss_that_no_share_keeps_is_refused():
    with pytest.raises(SurrogateError, match=r"no old-data share keeps the old loss at 2\.7000"):
        solve_critical_share(TRUTH, 2.7)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    base, noise, inside = float(TRUTH.predict(np.array([0.3]))[0]), 0.003, 0
    for seed in range(60):
        loss = TRUTH.predict(SHARES) + noise * rng.standard_normal(len(SHARES))
        seen = base + noise * rng.standard_normal()
        got = critical_share(SHARES, loss, seen, noise=noise, draws=300, seed=seed)
        assert got.low <= got.share <= got.high
        inside += got.low <= 0.3 <= got.high
    assert inside >= 50


def test_the_noise_is_pooled_over_groups():
    rng = np.random.default_rng(1)
    losses = [TRUTH.predict(SHARES) + 0.004 * rng.standard_normal(6) for _ in range(40)]
    assert share_noise([SHARES] * 40, losses) == pytest.approx(0.004, rel=0.25)
    with pytest.raises(SurrogateError, match="every group has 3 runs or fewer"):
        share_noise([SHARES[:3]], [TRUTH.predict(SHARES[:3])])


def test_one_run_gone_wrong_moves_the_fit_little():
    loss = TRUTH.predict(SHARES)
    base = float(TRUTH.predict(np.array([0.3]))[0])
    loss[1] += 0.002
    assert solve_critical_share(fit_share_law(SHARES, loss), base) == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize(
    ("share", "loss", "match"),
    [
        ([0.1, 0.1, 0.4], [3.0, 3.0, 2.9], r"3 different shares; got \[0\.1, 0\.4\]"),
        ([0.1, 0.2, 0.4], [3.0, np.nan, 2.9], "must be finite"),
        ([0.1, 0.2, 0.4], [2.8, 2.9, 3.0], "must fall as the old share rises"),
    ],
)
def test_runs_that_make_no_law_are_refused(share, loss, match):
    with pytest.raises(SurrogateError, match=match):
        fit_share_law(np.array(share), np.array(loss))
