"""Repetition, and the batched minimiser."""

import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der

from mixopt.laws import worth_per_token
from mixopt.laws._lbfgs import minimise


@pytest.mark.parametrize(
    ("epochs", "worth"), [(1, 1.0), (2, 0.984), (4, 0.931), (8, 0.828), (16, 0.661), (40, 0.379)]
)
def test_repeated_tokens_are_worth_what_was_published(epochs, worth):
    assert worth_per_token(np.array(epochs), 15.39) == pytest.approx(worth, abs=1e-3)


def test_tokens_that_are_not_repeated_are_worth_themselves():
    np.testing.assert_array_equal(worth_per_token(np.array([0.0, 0.5, 1.0]), 15.39), 1.0)


def test_a_batch_ends_where_single_problems_end():
    starts = np.random.default_rng(0).uniform(-1.5, 1.5, (6, 4))
    end = minimise(lambda t, _: (rosen(t.T), rosen_der(t.T).T), starts, iterations=500, tol=1e-14)
    gradient = np.abs(rosen_der(end.theta.T)).max()
    assert gradient < 1e-3
    alone = minimise(
        lambda t, _: (rosen(t.T), rosen_der(t.T).T), starts[2:3], iterations=500, tol=1e-14
    )
    np.testing.assert_allclose(alone.theta[0], end.theta[2], atol=1e-4)
