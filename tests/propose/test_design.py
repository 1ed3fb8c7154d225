import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standin import TOKENS, make_space

from mixopt.errors import StudyError
from mixopt.propose import initial_design, schedule_distance
from mixopt.space import Mixture, PhaseSpace, Schedule, SearchSpace, geometry_of


def gaps(space, schedules):
    X = np.array([geometry_of(space).encode(s) for s in schedules])
    far = schedule_distance(geometry_of(space).layout, X, X)
    np.fill_diagonal(far, np.inf)
    return far.min(1)


@pytest.mark.parametrize("phases", [1, 2])
@settings(max_examples=4, deadline=None)
@given(d=st.integers(2, 5), epochs=st.sampled_from([1.2, 4.0, 50.0]), seed=st.integers(0, 99))
def test_designs_are_feasible_different_and_begin_with_what_is_included(phases, d, epochs, seed):
    space = make_space(d, phases, max(epochs, 1.1e5 / sum(list(TOKENS.values())[:d])))
    include = [space.baseline_schedule]
    design = initial_design(space, 10, seed=seed, include=include)
    assert len(design) == 10
    assert design[0] == include[0]
    assert all(not geometry_of(space).broken(s, 1e-6) for s in design)
    for schedule in design:
        for phase in schedule.phases:
            assert sum(phase.mixture.values()) == pytest.approx(1, abs=1e-12)
    # Spaces of two domains under tight caps hold few schedules that are far apart.
    assert gaps(space, design).min() > (0.009 if d > 2 else 1e-6)


def test_the_same_seed_gives_the_same_design_and_another_seed_another():
    space = make_space(4, 2)
    first = initial_design(space, 6, seed=1)
    assert first == initial_design(space, 6, seed=1)
    assert first != initial_design(space, 6, seed=2)


@pytest.mark.parametrize("phases", [1, 2])
def test_permuting_the_domains_permutes_the_design(phases):
    one = initial_design(make_space(4, phases), 7, seed=3)
    other = initial_design(make_space(4, phases, order="dbca"), 7, seed=3)
    for a, b in zip(one, other, strict=True):
        assert [p.fraction for p in a.phases] == [p.fraction for p in b.phases]
        for p, q in zip(a.phases, b.phases, strict=True):
            assert dict(q.mixture) == pytest.approx(dict(p.mixture), abs=1e-7)


def test_maxmin_spreads_farther_than_chance_and_reaches_faces():
    space = make_space(5, 1, epochs=50)
    design = initial_design(space, 16, seed=0)
    chance = [
        geometry_of(space).decode(row)
        for row in geometry_of(space).sample(16, np.random.default_rng(0))
    ]
    assert gaps(space, design).min() > 2 * gaps(space, chance).min()
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
    design = initial_design(space, 8, seed=0)
    assert all(not geometry_of(space).broken(s, 1e-6) for s in design)
    assert {s.upsample_fraction for s in design} == {0.1, 0.3}


def test_errors_say_what_was_given():
    space = make_space(3, 1)
    with pytest.raises(StudyError, match="design of 1 trials cannot begin with 2 given"):
        initial_design(space, 1, seed=0, include=[space.baseline_schedule] * 2)
    narrow = SearchSpace(
        domains=[{"name": n, "tokens": 1} for n in "ab"],
        phases=[PhaseSpace(bounds={"a": (0.4, 0.4)})],
    )
    with pytest.raises(StudyError, match="so narrow that 2 more schedules would repeat others"):
        initial_design(narrow, 3, seed=0)


def test_include_is_kept_as_given_even_outside_the_space():
    space = make_space(3, 1, epochs=2)
    outside = Schedule.static({"a": 1.0, "b": 0.0, "c": 0.0})
    design = initial_design(space, 5, seed=0, include=[outside])
    assert design[0] == outside
    assert all(not geometry_of(space).broken(s, 1e-6) for s in design[1:])
