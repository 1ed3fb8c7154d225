"""Prediction at the target: level, honesty of the interval, refusals."""

import numpy as np
import pytest

from mixopt.errors import SurrogateError
from mixopt.surrogate import predict_target

SIZES, TOKENS = np.array([2e7, 8e7, 2e8]), np.linspace(10e9, 20e9, 4)


def table(g=6, m=2, noise=0.003, seed=0):
    rng = np.random.default_rng(seed)
    level = rng.uniform(1.5, 2.5, (g, m, 1, 1))

    def truth(n, t):
        return level + 0.6 * (n / 1e8) ** -0.25 + 0.5 * (t / 1e10) ** -0.4

    Y = truth(SIZES[:, None], TOKENS[None])
    return Y + noise * rng.standard_normal(Y.shape), truth(3e8, 30e9)[:, :, 0, 0]


def test_target_is_inside_an_interval_that_is_not_absurd():
    Y, truth = table()
    p = predict_target(SIZES, TOKENS, Y, (3e8, 30e9))
    assert (np.abs(p.mean - truth) < 3 * p.sd).all()
    assert (p.sd < 0.2).all()
    assert "6 mixtures at 2e+08 parameters" in p.tested_on
    assert p.rank_agreement[-1, -1] == pytest.approx(1.0)
    assert p.rank_agreement[0, 0] > 0.9


def test_a_farther_target_has_a_wider_interval():
    Y, _ = table()
    near = predict_target(SIZES, TOKENS, Y, (3e8, 30e9)).sd
    far = predict_target(SIZES, TOKENS, Y, (3e10, 300e9)).sd
    assert (far > 2 * near).all()


def test_one_fidelity_says_that_nothing_was_tested():
    Y, _ = table()
    p = predict_target(SIZES[:1], TOKENS[:1], Y[:, :, :1, :1], (3e8, 30e9))
    assert p.tested_on.startswith("nothing")
    assert (p.sd > 0.02).all()


def test_fidelities_must_ascend_and_mixtures_have_losses():
    Y, _ = table()
    with pytest.raises(SurrogateError, match="parameters must be positive and ascend"):
        predict_target(SIZES[::-1], TOKENS, Y, (3e8, 30e9))
    Y[4, 1] = np.nan
    with pytest.raises(SurrogateError, match="mixture 4 has no finite loss for metric 1"):
        predict_target(SIZES, TOKENS, Y, (3e8, 30e9))
    with pytest.raises(SurrogateError, match="mixtures x metrics x 3 sizes x 4 horizons"):
        predict_target(SIZES, TOKENS, Y[0], (3e8, 30e9))
