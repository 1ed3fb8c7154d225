"""Trials share a few seeds: pairs are surer, and no choice is tuned to a single seed."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixopt.space import SearchSpace
from mixopt.study import Study
from mixopt.study.baseline import unreachable_baseline
from mixopt.study.comparisons import comparison_seeds
from mixopt.study.seed_blocks import trial_seeds, trunks_worth
from mixopt.study.state import base_key

BASE = {"web": 0.7, "code": 0.3}
FREE = ({"name": "base"}, {"name": "ending", "fraction": [0.1, 0.2]})


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


def test_endings_of_a_fixed_base_share_two_or_three_trunks_evenly(study):
    trials = study.ask()
    first_trunk = study.state().block_seeds[0]
    ended = Counter(t.seed for t in trials if len(t.schedule.phases) > 1)
    assert 2 <= len(ended) <= 3
    # Runs that stay on the base are on the first trunk.
    assert {t.seed for t in trials if len(t.schedule.phases) == 1} == {first_trunk}
    assert first_trunk in ended


def test_trials_of_one_seed_are_one_group(study):
    trials = study.ask()
    groups = study.state().seed_groups([t.id for t in trials])
    by_seed = {t.seed: g for t, g in zip(trials, groups, strict=True)}
    assert groups == [by_seed[t.seed] for t in trials]
    assert len(set(groups)) == len({t.seed for t in trials})


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_mixtures_are_spread_evenly_over_the_blocks(blocks):
    space = SearchSpace(domains=("web", "code"), baseline=BASE)
    study = Study("s", space, {"loss": 1.0}, storage=None, initial=6, seed_blocks=blocks)
    trials = study.ask()
    seeds = study.state().block_seeds
    assert Counter(t.seed for t in trials) == dict.fromkeys(seeds, 6 // blocks)
    ids = [t.id for t in trials]
    ids.append(study.attach({"web": 1.0}, {"loss": 2.0}))
    groups = study.state().seed_groups(ids)
    assert len(set(groups[:-1])) == blocks
    assert groups[-1] not in groups[:-1]


def test_a_schedule_is_repeated_in_every_block_before_it_has_a_seed_of_its_own():
    space = SearchSpace(domains=("web", "code"), baseline=BASE)
    study = Study("s", space, {"loss": 1.0}, storage=None, initial=2, seed_blocks=2)
    for trial in study.ask():
        study.tell(trial.id, {"loss": 1.0})
    schedule, size = trial.schedule, trial.fidelity
    names = ["a", "b", "c"]
    first, second, third = trial_seeds(study.state(), names, [(schedule, size)] * 3)
    blocks = set(study.state().block_seeds)
    assert {trial.seed, first} == blocks
    assert len({*blocks, second, third}) == 4


def test_confirmation_runs_have_seeds_that_no_block_has(study):
    assert not set(comparison_seeds(study.state(), 20)) & set(study.state().block_seeds)


@given(st.lists(st.floats(0.05, 0.95), min_size=1, max_size=40))
def test_trunks_cost_at_most_about_the_endings(endings):
    worth = trunks_worth(endings, 3)
    if len(endings) < 4:
        assert worth == 1
        return
    assert worth in (2, 3)
    if worth == 3:
        # A trunk is trained as far as its last ending leaves it.
        assert 3 * (1 - min(endings)) <= sum(endings)


@given(st.floats(0.05, 0.95), st.integers(1, 40))
def test_more_endings_never_want_fewer_trunks(share, n):
    assert trunks_worth([share] * n, 3) <= trunks_worth([share] * (n + 1), 3)


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
    space = SearchSpace(domains=("web", "code"), baseline=BASE, phases=FREE)
    study = Study("s", space, {"loss": 1.0}, storage=None, initial=16)
    seeds = {(base_key(t.schedule), t.seed) for t in study.ask()}
    assert len({base for base, _ in seeds}) == len(seeds)
    assert len({seed for _, seed in seeds}) == 3
