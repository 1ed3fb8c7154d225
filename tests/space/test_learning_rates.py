import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mixopt.errors import SpaceError
from mixopt.space import (
    Layout,
    LearningRate,
    LearningRateSpace,
    RateRange,
    Schedule,
    SearchSpace,
    geometry_of,
    validate_yaml,
)

PEAK = {"min": 1e-4, "max": 1e-2}
ENDING = {"peak": PEAK, "warmup": {"min": 0, "max": 0.1}, "decay": "rest", "final": 0.1}


def make(ending=ENDING, run=None, **extra):
    phases = [{"name": "base"}, {"name": "ending", "fraction": [0, 0.2], "learning_rate": ending}]
    return SearchSpace(
        domains=["b", "a"], baseline="uniform", phases=phases, learning_rate=run, **extra
    )


def test_rules_without_anything_to_search_add_no_column_and_stay_rules():
    space = make({"peak": 1e-3, "warmup": 0.01}, {"warmup": 0.05})
    assert (geometry_of(space).layout.dim, geometry_of(space).layout.rates) == (
        Layout(2, 2).dim,
        (),
    )
    assert isinstance(space.phases[1].learning_rate, LearningRate)
    assert space.phases[1].learning_rate == LearningRate(peak=1e-3, warmup=0.01)


def test_searched_numbers_are_columns_the_runs_first():
    space = make(run={"peak": [1e-3, 2e-3, 4e-3]})
    assert geometry_of(space).layout.rates == (-1, 1, 1)
    assert geometry_of(space).layout.dim == Layout(2, 2).dim + 3
    assert [(a.phase, a.name) for a in geometry_of(space).rate_axes] == [
        (-1, "peak"),
        (1, "peak"),
        (1, "warmup"),
    ]
    assert SearchSpace.model_validate_json(space.model_dump_json()) == space


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_decoded_row_is_read_back_to_the_same_schedule(seed):
    space = make(run={"peak": [1e-3, 2e-3, 4e-3]})
    for row in geometry_of(space).sample(6, np.random.default_rng(seed)):
        schedule = geometry_of(space).decode(row)
        again = geometry_of(space).encode(schedule)
        assert geometry_of(space).decode(again) == schedule
        weights = geometry_of(space).layout.phases * geometry_of(space).layout.domains
        # A weight under 1e-4 is read back as 0, and what it held goes to the others.
        np.testing.assert_allclose(again[:weights], row[:weights], atol=2e-4)
        np.testing.assert_allclose(again[weights:], row[weights:], atol=1e-6)
        assert geometry_of(space).broken(schedule) == []


def test_a_peak_is_searched_on_the_log_scale_and_the_decay_takes_the_rest():
    space = make()
    row = geometry_of(space).encode(Schedule.two_phase({"a": 1.0}, {"b": 1.0}, 0.2))
    assert row[-2:] == pytest.approx([0.5, 0.5])
    row[-2:] = [0.25, 1.0]
    rule = geometry_of(space).decode(row).phases[1].learning_rate
    assert rule.peak == pytest.approx(10**-3.5, rel=1e-6)
    assert (rule.warmup, rule.decay) == pytest.approx((0.1, 0.9))
    row[-2:] = [7.0, -3.0]
    assert geometry_of(space).decode(row).phases[1].learning_rate.peak == 1e-2


def test_the_rate_of_a_phase_that_is_not_there_means_nothing():
    space = make()
    row = geometry_of(space).encode(Schedule.static({"a": 0.5, "b": 0.5}))
    other = row.copy()
    other[-2:] = [0.9, 0.1]
    for kind in (np.asarray, torch.as_tensor):
        np.testing.assert_array_equal(geometry_of(space).layout.rate_part(kind(other)), [0.5, 0.5])
    assert geometry_of(space).decode(other) == geometry_of(space).decode(row)


def test_the_baseline_uses_the_usual_peak():
    run = {"peak": {**PEAK, "usual": 3e-3}, "decay": 0.2}
    space = SearchSpace.model_validate(
        {"domains": ["a", "b"], "baseline": "uniform", "learning_rate": run}
    )
    assert space.baseline_schedule.learning_rate == LearningRate(peak=3e-3, decay=0.2)
    assert (
        geometry_of(space).decode(geometry_of(space).encode(space.baseline_schedule))
        == space.baseline_schedule
    )


def test_a_run_outside_the_range_is_told_in_so_many_words():
    space = make()
    schedule = Schedule.two_phase({"a": 1.0}, {"b": 1.0}, 0.2)
    rule = LearningRate(peak=0.1, warmup=0.05)
    phases = (schedule.phases[0], schedule.phases[1].model_copy(update={"learning_rate": rule}))
    ((label, amount),) = geometry_of(space).broken(Schedule(phases=phases))
    assert label == "peak between 0.0001 and 0.01"
    assert amount == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"peak": {"min": 2e-3, "max": 1e-3}}, "needs min < max"),
        ({"peak": {"min": 0, "max": 1e-3}}, "searched peak must be positive"),
        ({"peak": [2e-3, 1e-3]}, "levels must rise"),
        ({"peak": PEAK, "warmup": [0, 0.2], "decay": 0.9}, "leave room for the decay"),
    ],
)
def test_impossible_searches_are_refused(rule, words):
    with pytest.raises(SpaceError, match=words):
        make(rule)


def test_a_run_wide_search_that_no_phase_follows_is_refused():
    with pytest.raises(SpaceError, match="every phase has a rule of its own"):
        SearchSpace(
            domains=["a", "b"],
            baseline="uniform",
            phases=[{"learning_rate": {"peak": 1e-3}}],
            learning_rate={"peak": PEAK},
        )


def test_an_error_in_a_file_names_its_line(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(
        "domains: [a, b]\nbaseline: uniform\nlearning_rate:\n  peak: {min: 1.e-4, mx: 1.e-3}\n"
    )
    with pytest.raises(SpaceError, match="line 4"):
        validate_yaml(SearchSpace, path)


def test_levels_are_kept_and_ranges_are_cut():
    levels = LearningRateSpace(peak=(1e-3, 2e-3, 4e-3))
    (axis,) = levels.axes(-1)
    np.testing.assert_allclose(axis.snapped(np.array([-1.0, 0.3, 0.6, 2.0])), [0, 0.5, 0.5, 1])
    (free,) = LearningRateSpace(warmup=RateRange(min=0, max=0.02)).axes(0)
    np.testing.assert_allclose(free.snapped(np.array([-1.0, 0.3, 2.0])), [0, 0.3, 1])
