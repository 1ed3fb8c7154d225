"""Ends of curves from the rungs they pass."""

import numpy as np
import pytest

from mixopt.laws import LEAST_CURVES, curve_ends


def test_intervals_hold_what_they_say_and_a_line_is_found():
    rng = np.random.default_rng(0)
    inside, outside, chances = 0, 0, []
    for _ in range(300):
        rungs = 3 + rng.normal(size=(8, 2))
        ends = 0.5 + 0.7 * rungs + 0.1 * rng.normal(size=rungs.shape)
        now = 3 + rng.normal(size=(4, 2))
        true = 0.5 + 0.7 * now + 0.1 * rng.normal(size=now.shape)
        found = curve_ends(rungs, ends, now)
        # 95 % of Student's t with 6 degrees of freedom.
        hit = np.abs(true - found.mean) <= 2.447 * found.scale
        inside, outside = inside + int(hit.sum()), outside + int((~hit).sum())
        chances.append(found.below(2.6) - (true < 2.6))
    assert 0.92 < inside / (inside + outside) < 0.98
    assert abs(np.mean(chances)) < 0.02


def test_the_error_beyond_the_seen_rungs_is_larger_and_no_end_is_known_exactly():
    rungs = np.linspace(2, 3, 6)[:, None]
    found = curve_ends(rungs, 0.9 * rungs, np.array([[2.5], [9.0]]))
    assert found.mean[:, 0] == pytest.approx([2.25, 8.1])
    assert (found.scale > 0).all()
    noisy = curve_ends(rungs, 0.9 * rungs + 0.01 * np.cos(9 * rungs), np.array([[2.5], [9.0]]))
    assert noisy.scale[1, 0] > 3 * noisy.scale[0, 0]


def test_a_rung_at_which_all_were_equal_says_nothing_of_others():
    rungs, ends = np.full((LEAST_CURVES, 1), 2.0), np.linspace(1, 1.4, LEAST_CURVES)[:, None]
    same, other = curve_ends(rungs, ends, np.array([[2.0], [2.5]])).scale[:, 0]
    assert np.isfinite(same)
    assert np.isinf(other)


def test_few_curves_are_refused():
    few = np.ones((LEAST_CURVES - 1, 1))
    with pytest.raises(ValueError, match="at least 5 finished curves"):
        curve_ends(few, few, few)
