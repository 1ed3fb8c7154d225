"""Estimates of the objective: what each interval holds, against numbers that are known."""

from types import SimpleNamespace

import numpy as np
import pytest
from report.conftest import make_recommendation, make_space

from mixopt.propose import Confirmation, Estimate, Evidence, Observed
from mixopt.propose.problem import Problem
from mixopt.space import Fidelity, Objective, SearchSpace, Split
from mixopt.study.results.estimates import Noise, Reference, Source, answer_of, of_observations
from mixopt.surrogate import Prediction

SMALL, LARGE = (Fidelity(parameters=1000, tokens=t) for t in (10_000, 90_000))


def answer(**more):
    return answer_of(make_recommendation(make_space(), **more))


def test_the_gain_is_that_of_paired_fresh_seeds_where_they_ran():
    found = answer()
    gaps = np.array([3.17 - 3.27, 3.18 - 3.29, 3.16 - 3.26])
    assert found.is_confirmed
    assert found.gain.relative_to == Reference.baseline
    assert (found.gain.runs, found.gain.noise) == (3, Noise.seeds)
    assert found.gain.value == pytest.approx(gaps.mean())
    # Student's t with two degrees of freedom is 4.30 standard errors, not 1.96.
    assert found.gain.half_width == pytest.approx(4.303 * gaps.std(ddof=1) / np.sqrt(3), rel=1e-3)
    assert found.gain.high < 0


def test_without_confirmation_the_gain_is_the_predicted_one():
    found = answer(confirmations=())
    assert (found.gain.source, found.gain.noise) == (Source.predicted, Noise.surrogate)
    assert found.gain == found.predicted.difference
    assert found.gain.value == pytest.approx(-0.122)


def test_a_confirmed_gain_does_not_read_as_a_loss():
    # The objective differs between the two held-out texts by more than the gain.
    space = make_space()
    schedule = make_recommendation(space).schedule
    runs = {"recommendation": (4.601, 4.612, 4.604), "baseline": (4.675, 4.683, 4.675)}
    seeds = {label: dict(enumerate(values)) for label, values in runs.items()}
    made = tuple(
        Confirmation.of(label, schedule, values, {}, seeds["baseline"])
        for label, values in seeds.items()
    )
    found = answer(
        predicted=Estimate.of(4.590, 0.01),
        baseline=Estimate.of(4.680, 0.01),
        baseline_observed=4.603,
        confirmations=made,
    )
    assert found.gain.value == pytest.approx(-0.072)
    shown = [found.predicted, *found.confirmed[:1]]
    assert all(row.difference.value < 0 for row in shown)
    splits = {row.objective.split for row in found.confirmed}
    assert splits == {Split.confirmation}
    assert found.predicted.objective.split == Split.validation


def test_one_confirmed_seed_is_shown_but_is_no_answer():
    schedule = make_recommendation(make_space()).schedule
    one, other = {3: 3.17}, {3: 3.27}
    made = (
        Confirmation.of("recommendation", schedule, one, {}, other),
        Confirmation.of("baseline", schedule, other, {}, other),
    )
    found = answer(confirmations=made)
    shown = found.confirmed[0].difference
    assert (shown.value, shown.low, shown.runs) == (pytest.approx(-0.1), None, 1)
    assert found.gain == found.predicted.difference


def test_seeds_that_finished_on_one_side_only_are_left_out_of_the_pairs():
    schedule = make_recommendation(make_space()).schedule
    one = {0: 3.0, 1: 4.0, 2: 5.0}
    other = {1: 4.1, 2: 5.1, 3: 6.1}
    made = (
        Confirmation.of("recommendation", schedule, one, {}, other),
        Confirmation.of("baseline", schedule, other, {}, other),
    )
    gain = answer(confirmations=made).gain
    assert (gain.value, gain.runs) == (pytest.approx(-0.1), 2)
    assert gain.half_width == pytest.approx(0.0, abs=1e-9)


def test_observed_differences_hold_the_noise_of_both_runs():
    found = answer()
    assert found.best_observed.difference.value == pytest.approx(3.172 - 3.281)
    # One run against the mean of two.
    wide = 1.96 * 0.01 * np.sqrt(1 + 1 / 2)
    assert found.best_observed.difference.half_width == pytest.approx(wide, rel=1e-3)
    assert found.baseline_observed.objective.half_width == pytest.approx(
        1.96 * 0.01 / np.sqrt(2), rel=1e-3
    )


def test_runs_of_another_fidelity_are_not_held_against_the_target():
    space = make_space()
    best = make_recommendation(space).best_observed
    seen = Observed(**{**dict(best), "fidelity": SMALL})
    alone = answer(best_observed=seen, target=LARGE, baseline_observed=None, baseline_runs=0)
    assert alone.best_observed.difference is None
    beside = answer(best_observed=seen, target=LARGE)
    assert beside.best_observed.difference.value == pytest.approx(3.172 - 3.281)
    assert beside.best_observed.fidelity == SMALL


@pytest.mark.parametrize(
    ("correlation", "level", "expected"),
    [
        (0.0, 0.0, 0.02 / np.sqrt(13)),
        (0.5, 0.0, 0.02 * np.sqrt((1 + 12 * 0.5) / 13)),
        (0.5, 0.03**2, np.hypot(0.02 * np.sqrt((1 + 12 * 0.5) / 13), 0.03)),
    ],
)
def test_errors_that_go_together_widen_the_interval_of_an_observation(correlation, level, expected):
    names = tuple(f"m{i:02d}" for i in range(13))
    space = SearchSpace(domains=["a", "b"], baseline="uniform")
    R = np.full((13, 13), correlation) + (1 - correlation) * np.eye(13)
    surrogate = SimpleNamespace(correlation=R, level=np.full((13, 13), level))
    evidence = Evidence(np.array([[0.5, 0.5], [0.2, 0.8]]), np.ones((2, 13)), names, ("one", "two"))
    objective = Objective(weights=dict.fromkeys(names, 1 / 13))
    problem = Problem.of(space, objective, surrogate, evidence)
    sd = np.full((2, 13), 0.02)
    found = of_observations(problem, Prediction(np.ones((2, 13)), sd, sd), np.array([True, False]))
    assert found[0].noise == Noise.observation
    assert found[0].half_width == pytest.approx(1.96 * expected, rel=1e-3)
    # A value extrapolated to the target shares the level with its prediction.
    without = np.sqrt(expected**2 - level)
    assert found[1].half_width == pytest.approx(1.96 * without, rel=1e-3)


@pytest.mark.parametrize(
    ("static", "goal", "says"),
    [
        ((3.27, 3.29, 3.26), "minimize", "The order of the data pays"),
        ((3.27, 3.29, 3.26), "maximize", "The order of the data costs"),
        ((3.07, 3.09, 3.06), "minimize", "The order of the data costs"),
        ((3.16, 3.20, 3.17), "minimize", "The order of the data is not shown to pay"),
        ((3.16,), "minimize", None),
    ],
)
def test_whether_order_pays_is_told_from_paired_seeds(static, goal, says):
    schedule = make_recommendation(make_space()).schedule
    runs = {"recommendation": (3.17, 3.18, 3.16), "static": static}
    made = tuple(
        Confirmation.of(label, schedule, dict(enumerate(values)), {}, {})
        for label, values in runs.items()
    )
    found = make_recommendation(make_space(), confirmations=made, goal=goal).order_verdict
    assert found is None if says is None else found.startswith(says)
