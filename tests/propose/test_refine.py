import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from standin import make_space

from mixopt.propose.candidates.pool import Projector, draws, endings
from mixopt.propose.candidates.refine import own_path, refine
from mixopt.space import GroupBound, PhaseSpace, SearchSpace, geometry_of


def quadratic(target):
    goal = torch.as_tensor(target)
    return lambda X: ((X[:, : len(goal)] - goal) ** 2).sum(-1)


@pytest.mark.parametrize("groups", [(), (GroupBound(domains=("a", "b"), max=0.4),)])
def test_it_finds_the_minimum_on_a_face_where_a_solver_does(groups):
    space = SearchSpace(
        domains=[{"name": n, "tokens": 1} for n in "abcd"],
        phases=[PhaseSpace(bounds={"c": (0.0, 0.5)}, groups=groups)],
    )
    target = np.array([0.9, 0.2, 0.3, -0.4])
    polytope = geometry_of(space).polytope((1.0,))
    want = minimize(
        lambda x: ((x - target) ** 2).sum(),
        polytope.center,
        constraints=[
            {"type": "ineq", "fun": lambda x: polytope.b - polytope.A @ x},
            {"type": "eq", "fun": lambda x: polytope.E @ x - polytope.e},
        ],
    )
    starts = geometry_of(space).sample(5, np.random.default_rng(0))
    X, value = refine(geometry_of(space), starts, quadratic(target), steps=80)
    assert polytope.violation(X).max() < 1e-8
    assert value == pytest.approx(np.full(5, want.fun), abs=2e-3)
    assert (X[:, 3] == 0).all() if not groups else X[:, 3] == pytest.approx(0.1, abs=1e-6)


def test_rows_keep_their_fractions_and_trunks():
    space = make_space(4, 2)
    starts = geometry_of(space).sample(6, np.random.default_rng(1))
    kept = np.array([True, False] * 3)
    X, value = refine(geometry_of(space), starts, quadratic(np.full(8, 0.25)), keep_trunk=kept)
    assert np.array_equal(X[:, 8:], starts[:, 8:])
    assert np.array_equal(X[kept, :4], starts[kept, :4])
    before = quadratic(np.full(8, 0.25))(torch.as_tensor(starts)).numpy()
    assert (value <= before + 1e-9).all()
    W, F = geometry_of(space).layout.split(X)
    for w, f in zip(W, F, strict=True):
        assert geometry_of(space).polytope(tuple(f)).violation(w.reshape(-1)) < 1e-6


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), ulps=st.lists(st.integers(-2, 2), min_size=4, max_size=4))
def test_a_kept_trunk_is_kept_to_the_bit_whatever_its_rounding(seed, ulps):
    space, rng = make_space(4, 2, epochs=50), np.random.default_rng(seed)
    trunk = draws(geometry_of(space), 1, rng)[0]
    # A weight small enough to be set to 0, and sums that miss 1 by a few units in the last place.
    trunk[:4] = [trunk[0] + trunk[1] - 3e-5, 3e-5, *trunk[2:4]]
    trunk[:4] += np.spacing(trunk[:4]) * ulps
    starts = endings(geometry_of(space), trunk, 8, rng)
    assert len(starts)
    assert np.array_equal(starts[:, :4], np.tile(trunk[:4], (len(starts), 1)))
    everywhere = np.ones(len(starts), dtype=bool)
    X, _ = refine(
        geometry_of(space), starts, quadratic(np.eye(8)[5]), steps=10, keep_trunk=everywhere
    )
    assert np.array_equal(X[:, :4], starts[:, :4])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), epochs=st.sampled_from([1.5, 4.0, 50.0]))
def test_endings_of_one_trunk_decode_to_one_trunk_whatever_their_caps(seed, epochs):
    geometry, rng = geometry_of(make_space(4, 2, epochs=epochs)), np.random.default_rng(seed)
    trunk = geometry.sample(1, rng)[0]
    # A speck in the trunk, and caps that bind in some of the endings only.
    trunk[:4] = [trunk[0] + trunk[1] - 3e-5, 3e-5, *trunk[2:4]]
    bases = {geometry.decode(row).base for row in endings(geometry, trunk, 32, rng)}
    assert len(bases) <= 1


def test_each_row_follows_its_own_path():
    space = make_space(3, 1, epochs=50)
    goals = torch.eye(3, dtype=torch.float64)

    def paths(X):
        return ((X[None] - goals[:, None]) ** 2).sum(-1)

    starts = np.tile(geometry_of(space).polytope((1.0,)).center, (3, 1))
    X, _ = refine(geometry_of(space), starts, own_path(paths, np.arange(3)), steps=80)
    assert np.abs(X - np.eye(3)).max() < 0.02


def test_infinite_slopes_at_a_face_do_not_break_it():
    space = make_space(3, 1, epochs=50)
    starts = np.eye(3)
    X, value = refine(
        geometry_of(space), starts, lambda X: -X.clamp_min(0).sqrt().sum(-1), steps=80
    )
    assert np.isfinite(X).all()
    assert value.max() < -1.7


@pytest.mark.parametrize("epochs", [1.4, 3.0])
def test_the_fast_projection_agrees_with_the_general_one(epochs):
    polytope = geometry_of(make_space(5, 1, epochs)).polytope((1.0,))
    fast = Projector(polytope)
    assert fast.bounds is not None
    y = np.random.default_rng(0).normal(0.2, 0.4, (50, 5))
    assert fast(y) == pytest.approx(polytope.project(y, 5000), abs=1e-5)
    assert polytope.violation(fast(y)).max() < 1e-12
