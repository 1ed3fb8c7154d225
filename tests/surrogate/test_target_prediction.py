"""Prediction at the target: level, differences, honesty of the interval, refusals."""

import numpy as np
import pytest

from mixopt.errors import SurrogateError
from mixopt.space import LearningRate
from mixopt.surrogate import FidelityRows, RunRule, predict_target

SIZES, TOKENS = np.array([2e7, 8e7, 2e8]), np.linspace(10e9, 20e9, 4)
COSINE = LearningRate(warmup=0.02, decay=0.98, shape="cosine", final=0.1)
RULE = RunRule(COSINE, 100e9)


def places(sizes, tokens, X):
    """Every mixture at every size and length, one run per mixture and size."""
    grid = [(i, n, t) for i in range(len(X)) for n in sizes for t in tokens]
    i, n, t = (np.array([g[k] for g in grid]) for k in range(3))
    run = np.unique(np.column_stack([i, n]), axis=0, return_inverse=True)[1].ravel()
    return FidelityRows(X[i.astype(int)], n, t, run), i.astype(int)


def truth(rows, level, i, world=(0.25, 0.4, 0.0)):
    """A law in size and length counted by the learning rate, and what its fall gains."""
    alpha, beta, gain = world
    law = 0.6 * (rows.N / 1e8) ** -alpha + 0.5 * (rows.area / 1e10) ** -beta - gain * rows.fall
    return level[i] + law[:, None] * np.ones(2)


def case(
    target=(3e8, 30e9), g=6, noise=0.003, seed=0, rule=None, sizes=SIZES, tokens=TOKENS, world=None
):
    rng = np.random.default_rng(seed)
    world = world or (0.25, 0.4, 0.0)
    X, level = rng.dirichlet(np.ones(3), g), rng.uniform(1.9, 2.1, (g, 2))
    rows, i = places(sizes, tokens, X)
    wanted, j = places(target[:1], target[1:], X)
    counted = [r if rule is None else r.under(rule) for r in (rows, wanted)]
    Y = truth(counted[0], level, i, world)
    return (
        rows,
        Y + noise * rng.standard_normal(Y.shape),
        wanted,
        truth(counted[1], level, j, world),
    )


def test_target_is_inside_an_interval_that_is_not_absurd():
    rows, Y, wanted, true = case()
    p = predict_target(rows, Y, wanted)
    assert (np.abs(p.mean - true) < 3 * p.sd).all()
    assert (p.sd < 0.2).all()


def test_intervals_hold_over_laws_and_their_differences_too():
    inside, told = [], []
    for seed in range(10):
        drawn = np.random.default_rng(100 + seed).uniform([0.1, 0.25, 0.0], [0.4, 0.6, 0.06])
        rows, Y, wanted, true = case((6e8, 90e9), seed=seed, rule=RULE, world=tuple(drawn))
        p = predict_target(rows, Y, wanted, rule=RULE)
        w = np.array([0.5, 0.5])
        mean, sd = p.combined(w)
        inside.append((np.abs(mean - true @ w) <= 1.96 * sd).mean())
        for i, j in [(0, 1), (2, 3), (4, 5)]:
            gap, width = p.difference(i, j, w)
            told.append(abs(gap - (true[i] - true[j]) @ w) <= 1.96 * width)
            assert width < 1.5 * sd.mean()
    assert np.mean(inside) > 0.85
    assert np.mean(told) > 0.85


def test_a_farther_target_has_a_wider_interval():
    near, far = (case(target) for target in ((3e8, 30e9), (3e10, 300e9)))
    sd = [predict_target(rows, Y, wanted).sd for rows, Y, wanted, _ in (near, far)]
    assert (sd[1] > 2 * sd[0]).all()


def test_one_fidelity_says_little_of_another():
    rows, Y, wanted, true = case(sizes=SIZES[:1], tokens=TOKENS[:1])
    p = predict_target(rows, Y, wanted)
    assert (p.sd > 0.05).all()
    assert (np.abs(p.mean - true) < 3 * p.sd).all()


def test_middles_of_decaying_runs_are_counted_by_their_rule():
    rows, Y, wanted, true = case((2e8, 90e9), rule=RULE, tokens=np.linspace(10e9, 30e9, 6))
    known = predict_target(rows, Y, wanted, rule=RULE)
    unknown = predict_target(rows, Y, wanted)
    assert np.abs(known.mean - true).mean() < np.abs(unknown.mean - true).mean()
    assert (unknown.sd > known.sd).all()


def test_area_and_fall_follow_the_rule():
    tokens = np.array([1e9, 2e9, 51e9, 100e9, 110e9])
    area, fall = RULE.area(tokens), RULE.fall(tokens)
    assert area[0] == pytest.approx(0.25e9, rel=0.01)
    assert area[3] == pytest.approx(1e9 + 98e9 * 0.55, rel=0.01)
    assert area[4] - area[3] == pytest.approx(1e9, rel=0.01)
    np.testing.assert_allclose(fall, [0.0, 0.0, 0.45, 0.9, 0.9], atol=1e-3)
    with pytest.raises(SurrogateError, match="horizon of a learning-rate rule must be positive"):
        RunRule(COSINE, 0.0)


def test_early_checkpoints_are_left_out_but_never_the_last():
    tokens = np.array([1e9, 7e9, 10e9, 30e9, 2e9])
    run = np.array([0, 0, 0, 0, 1])
    rows = FidelityRows(np.ones((5, 1)), np.full(5, 1e8), tokens, run)
    assert rows.settled().tolist() == [2, 3, 4]
    assert rows.settled(RULE).tolist() == [2, 3, 4]
    assert rows.settled(RunRule(COSINE, 600e9)).tolist() == [3, 4]


def test_a_target_is_one_place():
    rows, Y, _, _ = case()
    with pytest.raises(SurrogateError, match="a target is one size and length; got 12"):
        predict_target(rows, Y, rows)
