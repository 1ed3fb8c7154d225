"""Ends of curves from the rungs they pass."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import t as student

from mixopt.laws import Likely, fit_curve_ends
from mixopt.laws.curve_ends import ERROR, FREEDOM, SLOPE_SD


def drawn(rng, n, slope=0.9, error=0.2):
    """Values at a rung half-way, and their ends; the spread of the values is 1."""
    rungs = 3 + rng.normal(size=(n, 2))
    return rungs, 0.5 + slope * rungs + error * rng.normal(size=rungs.shape)


@pytest.mark.parametrize("n", [1, 3, 12])
def test_intervals_and_chances_are_exact_where_the_prior_is_true(n):
    rng, inside, chances, behind = np.random.default_rng(n), [], [], []
    usual = ERROR / 0.5**0.5
    for _ in range(500):
        error = usual * np.sqrt(FREEDOM / rng.chisquare(FREEDOM, 2))
        truth = {"slope": 1 + SLOPE_SD * error / usual * rng.normal(size=2), "error": error}
        line = fit_curve_ends(*drawn(rng, n, **truth), np.ones(2), 0.5)
        now, true = drawn(rng, 4, **truth)
        found = line.predict(now)
        wide = student.ppf(0.975, found.freedom) * found.scale
        inside.append(np.abs(true - found.mean) <= wide)
        chances.append(found.below(3.2) - (true < 3.2))
        behind.append(line.apart(now[:2], now[2:]).below(0.0) - (true[:2] < true[2:]))
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)
    assert abs(np.mean(chances)) < 0.04
    assert abs(np.mean(behind)) < 0.04


def test_finished_curves_outweigh_the_prior():
    rng = np.random.default_rng(0)
    line = fit_curve_ends(*drawn(rng, 200, slope=0.4, error=0.02), np.ones(2), 0.5)
    assert line.slope == pytest.approx(0.4, abs=0.03)
    assert (line.error < 0.1).all()
    few = fit_curve_ends(*drawn(rng, 2, slope=0.4, error=0.02), np.ones(2), 0.5)
    assert (np.abs(few.slope - 0.4) > np.abs(line.slope - 0.4)).all()


def test_before_any_curve_has_finished_only_large_differences_tell():
    line = fit_curve_ends(np.empty((0, 1)), np.empty((0, 1)), np.ones(1), 0.5)
    chances = line.apart(np.array([[0.0], [0.2], [2.5]]), np.zeros(1)).below(0.0)[:, 0]
    assert chances[0] == pytest.approx(0.5)
    assert chances[1] > 0.1
    assert chances[2] < 0.05
    # An early rung tells less.
    early = fit_curve_ends(np.empty((0, 1)), np.empty((0, 1)), np.ones(1), 0.05)
    assert early.apart(np.array([[2.5]]), np.zeros(1)).below(0.0)[0, 0] > chances[2]


def test_no_end_is_known_exactly_and_metrics_that_never_change_stay():
    same = np.full((6, 1), 2.0)
    found = fit_curve_ends(same, same, np.zeros(1), 0.5).predict(same[:1])
    assert found.mean[0, 0] == pytest.approx(2.0)
    assert 0 < found.sd[0, 0] < 1e-4


@pytest.mark.parametrize("bound", [-2.0, 0.4, 3.0])
def test_the_gain_is_the_mean_of_what_lies_below_a_bound(bound):
    end = Likely(np.array([[0.5]]), np.array([[0.3]]), 5.0)
    mean, _ = quad(lambda at: float(end.below(at)[0, 0]), -np.inf, bound)
    assert end.gain(bound)[0, 0] == pytest.approx(mean, rel=1e-4)
