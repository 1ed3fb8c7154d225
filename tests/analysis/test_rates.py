"""Levels of the last phase's learning rate."""

import pytest

from mixopt.analysis.rates import AS_IS, rate_schedules, rates
from mixopt.errors import StudyError
from mixopt.space import LearningRate, Schedule

RUN = LearningRate(peak=0.01, warmup=0.05, decay=0.3)
ENDED = Schedule.two_phase({"a": 1.0}, {"b": 1.0}, 0.2, RUN)


def rate(schedule, progress):
    factor, peak = schedule.rate_factor(progress)
    return factor * (peak or 0.01)


def test_levels_start_where_the_trunk_ends_and_end_where_the_run_does():
    made = rate_schedules(ENDED, [0.5, 2.0], [0.0, 0.1], peak=0.01)
    assert len(made) == 5
    at = rate(ENDED, 0.8 - 1e-9)
    for label, schedule in made.items():
        assert schedule.phases[0] == ENDED.phases[0]
        for progress in (0.1, 0.5, 0.79):
            assert rate(schedule, progress) == rate(ENDED, progress)
        assert rate(schedule, 1.0) == pytest.approx(0.0)
        if label == "peak × 2, warm-up 10 %":
            assert rate(schedule, 0.8) == pytest.approx(at, abs=1e-6)
            assert rate(schedule, 0.82) == pytest.approx(0.02)
        if label == "peak × 0.5, warm-up 0 %":
            assert rate(schedule, 0.8) == pytest.approx(0.005)


def test_a_phase_with_its_own_rule_is_scaled_by_its_own_peak():
    rule = LearningRate(peak=0.004, warmup=0.1, decay=0.9, shape="cosine", final=0.1)
    last = ENDED.phases[-1].model_copy(update={"learning_rate": rule})
    schedule = ENDED.model_copy(update={"phases": (ENDED.phases[0], last)})
    made = rate_schedules(schedule, [2.0], [0.05], peak=0.01)["peak × 2, warm-up 5 %"]
    assert rate(made, 0.8 + 0.2 * 0.05) == pytest.approx(0.008)
    assert rate(made, 1.0) == pytest.approx(0.0004)
    assert made.phases[-1].learning_rate.shape == "cosine"


@pytest.mark.parametrize(
    ("factors", "warmups"), [((), (0.0,)), ((0.0,), (0.0,)), ((1.0,), (1.0,)), ((1.0,), (-0.1,))]
)
def test_levels_out_of_range(factors, warmups):
    with pytest.raises(StudyError, match="peaks must be positive and warm-ups shares"):
        rate_schedules(ENDED, factors, warmups, peak=0.01)


def test_one_phase_has_no_rate_to_search():
    with pytest.raises(StudyError, match="this schedule has one phase"):
        rate_schedules(Schedule.static({"a": 1.0}), [1.0], [0.0], peak=0.01)


def seeded(*values):
    return {seed: {"objective": v} for seed, v in enumerate(values)}


@pytest.mark.parametrize(("gain", "changed"), [(0.2, True), (0.001, False)])
def test_the_schedule_changes_only_where_a_level_is_clearly_better(gain, changed):
    made = rate_schedules(ENDED, [0.5, 2.0], [0.0], peak=0.01)
    noise = [0.01, -0.01, 0.005]
    values = {
        AS_IS: seeded(3.0, 3.1, 3.2),
        "peak × 0.5, warm-up 0 %": seeded(3.1, 3.2, 3.3),
        "peak × 2, warm-up 0 %": seeded(
            *(v - gain + e for v, e in zip((3.0, 3.1, 3.2), noise, strict=True))
        ),
    }
    found = rates(made, values)
    assert found.choices[0].label == "peak × 2, warm-up 0 %"
    assert found.changed is changed
    assert found.schedule == made[found.choices[0].label if changed else AS_IS]


def test_the_best_of_many_must_be_clearer_than_one_alone():
    made = rate_schedules(ENDED, [0.5, 1.0, 2.0], [0.0, 0.01, 0.02], peak=0.01)
    gains = [-0.06, -0.05, -0.04]
    values = {k: seeded(3.0, 3.0, 3.0) for k in made}
    best = "peak × 1, warm-up 1 %"
    values[best] = seeded(*(3 + g for g in gains))
    found = rates(made, values)
    assert found.choices[0].label == best
    assert found.choices[0].effects["objective"].high < 0
    # Clear by itself, and not as the best of nine.
    assert not found.changed


def test_a_level_against_the_advice_carries_its_warning():
    rule = LearningRate(decay=0.9, final=0.1)
    base = ENDED.phases[0].model_copy(update={"learning_rate": rule})
    same = ENDED.phases[1].model_copy(update={"mixture": base.mixture})
    schedule = ENDED.model_copy(update={"phases": (base, same)})
    made = rate_schedules(schedule, [1.0], [0.1], peak=0.01)
    values = {k: seeded(1.0, 1.1) for k in made}
    (choice,) = rates(made, values).choices
    assert "re-warms the learning rate on the distribution" in choice.advice[0].message
