import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standin import make_space

from mixopt.propose import schedule_distance
from mixopt.propose.candidates.distance import design_features, farthest
from mixopt.space import Layout, Mixture, Schedule, geometry_of

SPACE = make_space(3, 2)


def row(base, ending, fraction):
    names = SPACE.names
    return geometry_of(SPACE).encode(
        Schedule.two_phase(
            Mixture.from_array(names, base), Mixture.from_array(names, ending), fraction
        )
    )


def distance(x, z):
    return schedule_distance(geometry_of(SPACE).layout, x[None], z[None])[0, 0]


def test_distance_counts_the_tokens_fed_differently():
    base, other = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    static, late = row(base, base, 0.0), row(base, other, 0.1)
    assert distance(static, late) == pytest.approx(0.1)
    assert distance(late, row(base, other, 0.3)) == pytest.approx(0.2)
    assert distance(static, row(other, other, 0.0)) == pytest.approx(1.0)


def test_weights_of_a_phase_that_does_not_exist_count_nothing():
    x = row(np.array([0.5, 0.5, 0]), np.array([0.5, 0.5, 0]), 0.0)
    z = x.copy()
    z[3:6] = [0, 0, 1]
    assert distance(x, z) == 0
    assert np.allclose(
        design_features(geometry_of(SPACE).layout, x[None]),
        design_features(geometry_of(SPACE).layout, z[None]),
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_distance_is_a_metric(seed):
    x, y, z = geometry_of(SPACE).sample(3, np.random.default_rng(seed))
    assert distance(x, x) == pytest.approx(0, abs=1e-12)
    assert distance(x, y) == pytest.approx(distance(y, x))
    assert distance(x, z) <= distance(x, y) + distance(y, z) + 1e-12


def test_farthest_takes_corners_first_and_never_repeats():
    x = np.vstack([np.full((1, 3), 1 / 3), np.eye(3), np.eye(3)])
    picked = farthest(design_features(Layout(3), x), np.empty((0, 3)), 7)
    assert len(picked) == 4
    assert {tuple(r) for r in x[picked[1:]]} == {tuple(r) for r in np.eye(3)}
