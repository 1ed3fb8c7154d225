import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standin import TOKENS, make_space

from mixopt.errors import StudyError
from mixopt.propose import choose_subset, initial_design, schedule_distance
from mixopt.space import Mixture, PhaseSpace, Schedule, SearchSpace, geometry_of

KINDS = ["maxmin", "dirichlet", "halving", "doptimal", "uniform"]


def gaps(space, schedules):
    X = np.array([geometry_of(space).encode(s) for s in schedules])
    far = schedule_distance(geometry_of(space).layout, X, X)
    np.fill_diagonal(far, np.inf)
    return far.min(1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("phases", [1, 2])
@settings(max_examples=4, deadline=None)
@given(d=st.integers(2, 5), epochs=st.sampled_from([1.2, 4.0, 50.0]), seed=st.integers(0, 99))
def test_designs_are_feasible_different_and_begin_with_what_is_included(
    kind, phases, d, epochs, seed
):
    space = make_space(d, phases, max(epochs, 1.1e5 / sum(list(TOKENS.values())[:d])))
    include = [space.baseline_schedule]
    design = initial_design(space, 10, seed=seed, kind=kind, include=include)
    assert len(design) == 10
    assert design[0] == include[0]
    assert all(not geometry_of(space).broken(s, 1e-6) for s in design)
    for schedule in design:
        for phase in schedule.phases:
            assert sum(phase.mixture.values()) == pytest.approx(1, abs=1e-12)
    # Spaces of two domains under tight caps hold few schedules that are far apart.
    assert gaps(space, design).min() > (0.009 if d > 2 else 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_design_and_another_seed_another(kind):
    space = make_space(4, 2)
    first = initial_design(space, 6, seed=1, kind=kind)
    assert first == initial_design(space, 6, seed=1, kind=kind)
    assert first != initial_design(space, 6, seed=2, kind=kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("phases", [1, 2])
def test_permuting_the_domains_permutes_the_design(kind, phases):
    one = initial_design(make_space(4, phases), 7, seed=3, kind=kind)
    other = initial_design(make_space(4, phases, order="dbca"), 7, seed=3, kind=kind)
    for a, b in zip(one, other, strict=True):
        assert [p.fraction for p in a.phases] == [p.fraction for p in b.phases]
        for p, q in zip(a.phases, b.phases, strict=True):
            assert dict(q.mixture) == pytest.approx(dict(p.mixture), abs=1e-7)


def test_maxmin_spreads_farther_than_chance_and_reaches_faces():
    space = make_space(5, 1, epochs=50)
    spread = {k: gaps(space, initial_design(space, 16, seed=0, kind=k)) for k in KINDS}
    assert spread["maxmin"].min() > 2 * spread["uniform"].min()
    design = initial_design(space, 16, seed=0)
    assert sum(min(s.base.values()) == 0 for s in design) >= 8


def test_two_phase_designs_hold_static_rows_several_fractions_and_shared_trunks():
    space = make_space(5, 2)
    design = initial_design(space, 12, seed=0, include=[space.baseline_schedule])
    fractions = [s.upsample_fraction for s in design]
    assert fractions.count(0.0) >= 3
    assert set(fractions) == {0.0, 0.1, 0.2, 0.3}
    endings = [s for s in design if s.upsample_fraction > 0]
    trunks = [tuple(round(w, 6) for w in s.base.values()) for s in endings]
    assert len(set(trunks)) <= len(trunks) / 2
    baseline = tuple(round(w, 6) for w in space.natural.values())
    assert trunks.count(baseline) >= 3


def test_a_space_without_a_static_level_and_with_a_fixed_base_works():
    natural = {n: t / sum(TOKENS.values()) for n, t in TOKENS.items()}
    space = SearchSpace(
        domains=[{"name": n, "tokens": t} for n, t in TOKENS.items()],
        phases=[PhaseSpace(fixed=Mixture(natural)), PhaseSpace(name="end", fraction=(0.1, 0.3))],
    )
    for kind in KINDS:
        design = initial_design(space, 8, seed=0, kind=kind)
        assert all(not geometry_of(space).broken(s, 1e-6) for s in design)
        assert {s.upsample_fraction for s in design} == {0.1, 0.3}


def test_halving_uses_halvings_of_the_largest_share():
    space = SearchSpace(domains=[{"name": n, "tokens": 1} for n in "abc"])
    design = initial_design(space, 12, seed=0, kind="halving")
    weights = np.array([list(s.base.values()) for s in design])
    steps = {1, 0.5, 0.25, 0.125, 0.0625, 0}
    on_grid = np.isin(np.round(weights, 6), [round(v, 6) for v in steps]).sum(1)
    assert (on_grid >= 2).mean() > 0.8


def test_doptimal_knows_the_law_better_than_uniform_draws():
    space = make_space(5, 1, epochs=50)

    def information(kind):
        W = np.array([list(s.base.values()) for s in initial_design(space, 12, seed=0, kind=kind)])
        return np.linalg.slogdet(W.T @ W)[1]

    assert information("doptimal") > information("uniform") + 2


def test_errors_say_what_was_given():
    space = make_space(3, 1)
    with pytest.raises(StudyError, match=r"must be one of .*'maxmin'.*; got 'sobol'"):
        initial_design(space, 4, seed=0, kind="sobol")
    with pytest.raises(StudyError, match="design of 1 trials cannot begin with 2 given"):
        initial_design(space, 1, seed=0, include=[space.baseline_schedule] * 2)
    narrow = SearchSpace(
        domains=[{"name": n, "tokens": 1} for n in "ab"],
        phases=[PhaseSpace(bounds={"a": (0.4, 0.4)})],
    )
    with pytest.raises(StudyError, match="so narrow that 2 more schedules would repeat others"):
        initial_design(narrow, 3, seed=0)


def test_the_subset_predicts_the_rest_better_than_a_random_one():
    space = make_space(5, 1, epochs=50)
    W = np.array([list(s.base.values()) for s in initial_design(space, 40, seed=0, kind="halving")])
    Y = 2 + np.exp(W @ np.random.default_rng(0).normal(0, 1.5, (5, 3)))

    def error(rows):
        Z = np.hstack([np.ones((40, 1)), W])
        fit = np.linalg.lstsq(Z[rows], np.log(Y[rows] - 2), rcond=None)[0]
        noise = 0.1 * np.random.default_rng(1).standard_normal(Y.shape)
        noisy = np.linalg.lstsq(Z[rows], np.log(Y[rows] - 2) + noise[rows], rcond=None)[0]
        return ((Z @ (noisy - fit)) ** 2).mean()

    rng = np.random.default_rng(2)
    random = np.mean([error(rng.permutation(40)[:12]) for _ in range(20)])
    assert error(choose_subset(W, 12)) < random
    chosen = choose_subset(W, 12, Y=Y)
    assert len(set(chosen.tolist())) == 12
    with pytest.raises(StudyError, match="subset of 40 trials must have 1 to 40; got 41"):
        choose_subset(W, 41)


def test_include_is_kept_as_given_even_outside_the_space():
    space = make_space(3, 1, epochs=2)
    outside = Schedule.static({"a": 1.0, "b": 0.0, "c": 0.0})
    design = initial_design(space, 5, seed=0, include=[outside])
    assert design[0] == outside
    assert all(not geometry_of(space).broken(s, 1e-6) for s in design[1:])
