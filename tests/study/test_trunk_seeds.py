"""Endings of one base mixture are spread over a few trunks, as far as those are worth it."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixopt.space import SearchSpace
from mixopt.study import Study
from mixopt.study.baseline import unreachable_baseline
from mixopt.study.config import derived_seed
from mixopt.study.state import trunk_key
from mixopt.study.trunk_seeds import trunk_seed, trunks_worth

BASE = {"web": 0.7, "code": 0.3}


@pytest.fixture
def study():
    space = SearchSpace(
        domains=("web", "code"),
        baseline=BASE,
        phases=(
            {"name": "base", "fixed": BASE},
            {"name": "ending", "fraction": [0, 0.1, 0.3]},
        ),
    )
    return Study("s", space, {"loss": 1.0}, storage=None, initial=12)


def test_endings_share_two_or_three_trunks_evenly(study):
    trials = study.ask()
    ended = Counter(t.seed for t in trials if len(t.schedule.phases) > 1)
    assert 2 <= len(ended) <= 3
    first = derived_seed(0, "trunk", trunk_key(trials[0].schedule))
    # The first trunk has the seed that it always had, and the runs that stay on the base.
    assert first in ended
    assert {t.seed for t in trials if len(t.schedule.phases) == 1} == {first}
    assert first == trunk_seed(0, trunk_key(trials[0].schedule), 0)


def test_trials_of_one_trunk_are_one_group(study):
    trials = study.ask()
    groups = study.state().trunk_groups([t.id for t in trials])
    by_seed = {t.seed: g for t, g in zip(trials, groups, strict=True)}
    assert groups == [by_seed[t.seed] for t in trials]
    assert len(set(groups)) == len({t.seed for t in trials})


def test_without_phases_every_trial_is_a_trunk_of_its_own():
    space = SearchSpace(domains=("web", "code"), baseline=BASE)
    study = Study("s", space, {"loss": 1.0}, storage=None, initial=4)
    ids = [t.id for t in study.ask()]
    ids.append(study.attach({"web": 1.0}, {"loss": 2.0}))
    assert study.state().trunk_groups(ids) == [0, 1, 2, 3, 4]


@given(st.lists(st.floats(0.05, 0.95), min_size=1, max_size=40))
def test_trunks_cost_at_most_about_the_endings(endings):
    worth = trunks_worth(endings)
    if len(endings) < 4:
        assert worth == 1
        return
    assert worth in (2, 3)
    if worth == 3:
        # A trunk is trained as far as its last ending leaves it.
        assert 3 * (1 - min(endings)) <= sum(endings)


@given(st.floats(0.05, 0.95), st.integers(1, 40))
def test_more_endings_never_want_fewer_trunks(share, n):
    assert trunks_worth([share] * n) <= trunks_worth([share] * (n + 1))


def test_a_baseline_that_the_space_cannot_reach_is_warned_of_before_any_trial(caplog):
    space = SearchSpace(
        domains=("web", "code"),
        baseline="uniform",
        phases=({"name": "base", "fixed": BASE}, {"name": "ending", "fraction": [0.1, 0.3]}),
    )
    Study("s", space, {"loss": 1.0}, storage=None, initial=4).ask()
    assert "The baseline lies outside of the space, which breaks" in caplog.text


def test_a_baseline_held_through_every_phase_is_inside(study, caplog):
    study.ask()
    assert unreachable_baseline(study.space) is None
    assert "outside of the space" not in caplog.text


def test_endings_of_a_free_base_find_the_trunk_they_were_chosen_for():
    phases = ({"name": "base"}, {"name": "ending", "fraction": [0.1, 0.2]})
    space = SearchSpace(domains=("web", "code"), baseline=BASE, phases=phases)
    study = Study("s", space, {"loss": 1.0}, storage=None, initial=16)
    seeds = {(trunk_key(t.schedule), t.seed) for t in study.ask()}
    assert len({base for base, _ in seeds}) == len(seeds)


def test_trunks_of_free_bases_are_not_told_from_their_mixtures():
    phases = ({"name": "base"}, {"name": "ending", "fraction": [0.1, 0.2]})
    space = SearchSpace(domains=("web", "code"), baseline=BASE, phases=phases)
    study = Study("s", space, {"loss": 1.0}, storage=None, initial=16)
    ids = [t.id for t in study.ask()]
    assert study.state().trunk_groups(ids) == list(range(16))
