"""Attribution and controls: the schedules compared, their runs, and the paired effects."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixopt.analysis.attribution import attribution, attribution_schedules, without_domain
from mixopt.analysis.controls import control_schedules, controls, with_mixture
from mixopt.errors import StudyError
from mixopt.space import Kind, LearningRate, Mixture, Schedule, SearchSpace, Split
from mixopt.space.effect import Effect
from mixopt.study import CallableTrainer, State, Study, run_trial
from mixopt.study.comparisons import (
    comparison_values,
    finished_runs,
    paired_effects,
    plan_runs,
    require_pairs,
)

NAMES = ("web", "code", "math")
BASE = {"web": 0.7, "code": 0.2, "math": 0.1}
RICH = {"web": 0.2, "code": 0.3, "math": 0.5}
ENDED = Schedule.two_phase(BASE, RICH, 0.2)


@pytest.fixture
def study():
    space = SearchSpace(domains=NAMES, baseline="uniform")
    return Study("s", space, {"reason": 0.5, "talk": 0.5}, storage=None, confirm_seeds=3)


def train(schedule, fidelity, seed):  # noqa: ARG001
    """Math helps reasoning twice as much when it comes late; seeds shift everything alike."""
    shift = (seed % 97) / 97
    late = schedule.ending.get("math", 0.0)
    exposure = schedule.exposure()
    return {
        "reason": 4 + shift - exposure.get("math", 0.0) - 0.1 * late * schedule.upsample_fraction,
        "talk": 3 + shift - exposure["web"],
    }


def planned(study, schedules, seeds):
    return study.add_trials(plan_runs(study.state(), schedules, seeds=seeds), retry_failed=True)


def finish(study, schedules, seeds=3):
    trainer = CallableTrainer(train)
    for trial in planned(study, schedules, seeds):
        run_trial(study, trainer, trial)
    return comparison_values(study.state(), schedules)


weights = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(
    lambda w: Mixture.normalized(dict(zip(NAMES, w, strict=True)))
)


@given(weights, weights, st.floats(0.05, 0.5))
def test_leaving_a_domain_out_keeps_the_others_proportions_and_the_trunk(base, ending, fraction):
    whole = Schedule.two_phase(base, ending, fraction)
    left = without_domain(whole, "math")
    assert left.phases[0] == whole.phases[0]
    assert left.upsample_fraction == whole.upsample_fraction
    assert "math" not in left.ending
    ratio = left.ending["web"] / left.ending["code"]
    assert ratio == pytest.approx(ending["web"] / ending["code"])


def test_a_static_schedule_loses_the_domain_from_start_to_end():
    left = without_domain(Schedule.static(BASE), "web")
    assert left.base == pytest.approx({"code": 2 / 3, "math": 1 / 3})


@pytest.mark.parametrize(
    ("mixture", "domain", "message"),
    [
        ({"web": 1.0, "math": 0.0}, "math", "it gives 'math' no weight"),
        ({"web": 1.0}, "web", "'web' is all of it"),
    ],
)
def test_a_domain_that_cannot_be_left_out(mixture, domain, message):
    with pytest.raises(StudyError, match=message):
        without_domain(Schedule.static(mixture), domain)


@given(weights, weights, st.floats(0.05, 0.5))
def test_controls_draw_the_same_tokens_or_the_base(base, ending, fraction):
    if base == ending:
        return
    made = control_schedules(Schedule.two_phase(base, ending, fraction))
    assert dict(made["static"].exposure()) == pytest.approx(dict(made["schedule"].exposure()))
    assert dict(made["base"].exposure()) == pytest.approx(dict(base))
    assert len(made["static"].phases) == len(made["base"].phases) == 1


def test_controls_keep_the_learning_rate_of_every_phase():
    rule = LearningRate(warmup=0.1, decay=0.9)
    phases = tuple(p.model_copy(update={"learning_rate": rule}) for p in ENDED.phases)
    schedule = ENDED.model_copy(update={"phases": phases})
    held = with_mixture(schedule, Mixture(RICH))
    for progress in np.linspace(0, 1, 21):
        assert held.rate_factor(progress) == schedule.rate_factor(progress)
    assert held.exposure() == pytest.approx(RICH)


def test_one_mixture_has_no_controls():
    with pytest.raises(StudyError, match="single mixture from start to end"):
        control_schedules(Schedule.static(BASE))


def test_an_effect_is_paired_and_its_interval_is_students():
    one = {7: {"a": 1.0}, 3: {"a": 5.0}, 5: {"a": 9.0}}
    other = {3: {"a": 4.9}, 5: {"a": 8.7}, 7: {"a": 0.8}}
    effect = paired_effects(one, other)["a"]
    assert effect.mean == pytest.approx(0.2)
    # Student's t for two degrees of freedom at 95 %.
    assert effect.high - effect.mean == pytest.approx(4.302653 * 0.1 / np.sqrt(3))
    assert effect.clear is False
    assert Effect.of([1.0, 1.01, 0.99]).clear


def test_an_interval_needs_two_seeds_on_both_sides():
    with pytest.raises(StudyError, match="at least two seeds that finished on both sides; got 1"):
        paired_effects({1: {"a": 1.0}}, {1: {"a": 1.0}, 2: {"a": 2.0}})
    with pytest.raises(StudyError, match="at least two seeds that finished on both sides; got 0"):
        paired_effects({}, {1: {"a": 1.0}, 2: {"a": 2.0}})


def test_attribution_recovers_the_effect_free_of_the_seeds_shift(study):
    schedules = attribution_schedules(ENDED, "math")
    values = finish(study, schedules)
    found = attribution(schedules, "math", values)
    assert found.weight == 0.5
    assert found.phase == "ending"
    # .5 of a fifth of the run, and .1 * .5 * .2 for coming late.
    assert found.effects["reason"].mean == pytest.approx(-0.11)
    assert found.effects["reason"].clear
    # Without math, web rises from .2 to .4 of the ending.
    assert found.effects["talk"].mean == pytest.approx(0.04)
    assert found.effects["objective"].mean == pytest.approx(0.5 * (-0.11 + 0.04))


def test_exposure_and_order_add_up_to_the_total(study):
    schedules = control_schedules(ENDED)
    found = controls(schedules, finish(study, schedules))
    for name, total in found.total.items():
        parts = found.exposure[name].mean + found.order[name].mean
        assert parts == pytest.approx(total.mean, abs=1e-12)
    assert found.order["reason"].mean == pytest.approx(-0.1 * 0.5 * 0.2)
    assert found.order["talk"].mean == pytest.approx(0, abs=1e-12)
    assert found.order_share == pytest.approx(
        found.order["objective"].mean / found.total["objective"].mean
    )


def test_a_total_that_is_not_clear_of_zero_is_not_divided():
    schedules = control_schedules(ENDED)
    values = {
        "schedule": {1: {"objective": 1.0}, 2: {"objective": 2.0}},
        "base": {1: {"objective": 1.1}, 2: {"objective": 1.9}},
        "static": {1: {"objective": 1.0}, 2: {"objective": 1.0}},
    }
    assert controls(schedules, values).order_share is None


def test_runs_are_stored_once_and_shared_between_questions(study):
    asked = attribution_schedules(ENDED, "math")
    assert len(planned(study, asked, 2)) == 4
    finish(study, asked, 2)
    two = planned(study, control_schedules(ENDED), 3)
    # The third seed of the schedule, and three of each control.
    assert len(two) == 7
    assert {t.split for t in two} == {Split.confirmation}


def test_confirmation_runs_serve_as_comparison_runs(study):
    for trial in study.ask():
        run_trial(study, CallableTrainer(train), trial)
    rec = study.recommend()
    for trial in study.add_trials(study.confirmation_trials(rec)):
        run_trial(study, CallableTrainer(train), trial)
    assert planned(study, {"with": rec.schedule}, 3) == []
    runs = finished_runs(study.state(), {"with": rec.schedule})["with"]
    assert {r.trial.kind for r in runs.values()} == {Kind.confirmation}


def test_comparisons_do_not_enter_the_evidence_or_the_budget(study):
    trainer = CallableTrainer(train)
    for trial in study.ask():
        run_trial(study, trainer, trial)
    before = study.recommend()
    spent = study.spent()
    finish(study, control_schedules(ENDED), 2)
    assert any(r.trial.kind == Kind.comparison for r in study.records())
    assert study.recommend() == before
    assert study.spent() == spent


def test_a_failed_run_is_done_again_when_it_is_asked_for_again(study):
    made = planned(study, {"with": ENDED}, 2)
    study.fail(made[0].id, "no memory")
    assert comparison_values(study.state(), {"with": ENDED}) == {"with": {}}
    assert planned(study, {"with": ENDED}, 2) == made
    states = [r.state for r in study.records()]
    assert states == [State.waiting, State.waiting]


def test_one_seed_is_refused():
    with pytest.raises(StudyError, match="at least two seeds to have an interval; got 1"):
        require_pairs(1)
