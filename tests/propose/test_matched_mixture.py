import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standin import make_space

from mixopt.propose import matched_mixture, matched_schedule, schedule_distance
from mixopt.space import Mixture, Objective, Schedule, geometry_of
from mixopt.study import Study

NAMES = ("a", "b", "c")


@given(weights=st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3))
def test_it_is_the_best_mixture_where_losses_fall_with_the_logarithm_of_their_share(weights):
    w = np.array(weights) / sum(weights)
    mixture = matched_mixture(NAMES, dict(zip(NAMES, w, strict=True)), dict.fromkeys(NAMES, 0.0))
    x = mixture.to_array(NAMES)
    others = np.random.default_rng(0).dirichlet(np.ones(3), 500)
    assert -(w * np.log(x)).sum() <= (-(np.log(others + 1e-12) @ w)).min() + 1e-9


def test_domains_without_a_metric_keep_a_twentieth_of_the_reference():
    reference = {"b": 0.25, "c": 0.75}
    mixture = matched_mixture(NAMES, {"a": 1.0}, reference)
    assert dict(mixture) == pytest.approx({"a": 0.95, "b": 0.0125, "c": 0.0375})
    half = matched_mixture(NAMES, {"a": 0.5, "benchmark": 0.5}, reference)
    assert dict(half) == pytest.approx({"a": 0.475, "b": 0.13125, "c": 0.39375})


def test_metrics_that_name_no_domain_match_nothing():
    assert matched_mixture(NAMES, {"benchmark": 1.0}, dict.fromkeys(NAMES, 1 / 3)) is None
    assert matched_schedule(make_space(3, 2), Objective(weights={"benchmark": 1.0})) is None


@settings(max_examples=10, deadline=None)
@given(epochs=st.sampled_from([1.5, 4.0, 50.0]), share=st.floats(0.0, 1.0), phases=st.just(2))
def test_the_schedule_is_feasible_and_no_feasible_one_matches_better(epochs, share, phases):
    space = make_space(3, phases, epochs)
    objective = Objective(weights={"a": share, "c": 1 - share})
    schedule = matched_schedule(space, objective)
    assert not geometry_of(space).broken(schedule, 1e-6)
    wanted = matched_mixture(space.names, objective.weights, space.natural)
    rows = np.vstack(
        [
            geometry_of(space).encode(schedule),
            geometry_of(space).sample(300, np.random.default_rng(0)),
        ]
    )
    target = geometry_of(space).encode(Schedule.static(wanted))[None]
    far = schedule_distance(geometry_of(space).layout, rows, target)[:, 0]
    # The nearest in the squares of the weights may be a little farther in their sums.
    assert far[0] <= far[1:].min() + 0.05


def test_a_study_tries_it_right_after_the_baseline():
    space = make_space(4, 1, epochs=50.0)
    objective = Objective(weights={"d": 1.0})
    first = Study("s", space, objective, storage=None, initial=5).ask()
    assert first[0].schedule.base == space.baseline_schedule.base
    assert first[1].schedule == matched_schedule(space, objective)
    assert first[1].schedule.base["d"] > 0.9
    again = Study("t", space, {"nothing": 1.0}, storage=None, initial=5).ask()
    assert max(again[1].schedule.base.values()) != first[1].schedule.base["d"]


def test_a_baseline_that_matches_already_is_not_tried_twice():
    space = make_space(3, 1, epochs=50.0)
    natural = Mixture(dict(space.natural))
    trials = Study("s", space, Objective(weights=dict(natural)), storage=None, initial=4).ask()
    X = np.array([geometry_of(space).encode(t.schedule) for t in trials])
    gap = schedule_distance(geometry_of(space).layout, X, X)
    np.fill_diagonal(gap, 1.0)
    assert gap.min() >= 0.0099
