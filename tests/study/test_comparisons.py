"""Runs named by what was run: confirmations never show another schedule's."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixopt.space import Fidelity, Mixture, Observation, Schedule, Split
from mixopt.space.effect import Effect
from mixopt.study import run_trial
from mixopt.study.comparisons import (
    comparison_values,
    confirmed,
    paired_effects,
    plan_runs,
    run_digest,
)
from mixopt.study.trainers import CallableTrainer

SIZE = Fidelity(parameters=10, tokens=100)


def recommending(*weights):
    """As much of a recommendation as its confirmation needs."""
    mixture = dict(zip(("web", "code", "books"), weights, strict=True))
    schedule = Schedule.static(mixture)
    return SimpleNamespace(schedule=schedule, static_control=schedule)


BEST = recommending(0.6, 0.3, 0.1)


def confirm(study, train, recommendation):
    runs = study.add_trials(study.confirmation_trials(recommendation))
    for trial in runs:
        run_trial(study, CallableTrainer(train), trial)
    return runs


def labels(study, recommendation):
    return [c.label for c in confirmed(study.state(), recommendation)]


@given(
    st.lists(st.floats(0.001, 1), min_size=3, max_size=3),
    st.integers(0, 2**31 - 1),
    st.sampled_from(list(Split)),
)
def test_a_run_is_named_by_what_it_trains(weights, seed, split):
    mixture = Mixture.normalized(dict(zip("abc", weights, strict=True)))
    turned = Mixture(dict(reversed(list(mixture.items()))) | {"d": 0.0})
    name = run_digest(Schedule.static(mixture), SIZE, seed, split)
    assert name == run_digest(Schedule.static(turned), SIZE, seed, split)
    assert name != run_digest(Schedule.static(mixture), SIZE, seed + 1, split)
    longer = SIZE.model_copy(update={"tokens": 101})
    assert name != run_digest(Schedule.static(mixture), longer, seed, split)
    other = Schedule.two_phase(mixture, {"a": 1.0}, 0.1)
    assert name != run_digest(other, SIZE, seed, split)


def test_weights_that_differ_by_rounding_alone_are_one_run():
    one, other = ({"a": 0.3 + nudge, "b": 0.7 - nudge} for nudge in (0.0, 1e-12))
    names = {run_digest(Schedule.static(m), SIZE, 0, Split.validation) for m in (one, other)}
    assert len(names) == 1


def test_a_new_recommendation_does_not_show_the_runs_of_the_old_one(make, train):
    study = make()
    confirm(study, train, BEST)
    assert labels(study, BEST) == ["recommendation", "baseline"]
    new = recommending(0.5, 0.4, 0.1)
    assert labels(study, new) == ["baseline"]
    # The baseline is not trained again; the new recommendation is.
    assert {t.label for t in confirm(study, train, new)} == {"recommendation"}
    assert labels(study, new) == ["recommendation", "baseline"]
    assert confirmed(study.state(), new)[0].schedule == new.schedule


def test_a_recommendation_that_is_the_baseline_is_run_once(make, train):
    study = make()
    third = recommending(1 / 3, 1 / 3, 1 / 3)
    assert {t.label for t in confirm(study, train, third)} == {"recommendation"}
    assert labels(study, third) == ["recommendation"]


def test_raising_the_seeds_runs_the_missing_ones(make, train):
    study = make(confirm_seeds=2)
    first = confirm(study, train, BEST)
    study = make(confirm_seeds=4)
    more = confirm(study, train, BEST)
    assert len(first) == len(more) == 4
    assert not {t.seed for t in first} & {t.seed for t in more}
    assert [len(c.values) for c in confirmed(study.state(), BEST)] == [4, 4]


def test_no_seeds_are_no_runs(make):
    assert make(confirm_seeds=0).confirmation_trials(BEST) == []


def test_failed_seeds_are_paired_by_seed(make):
    study = make(confirm_seeds=4)
    runs = study.add_trials(study.confirmation_trials(BEST))
    base = [t for t in runs if t.label == "baseline"]
    ours = [t for t in runs if t.label == "recommendation"]
    for k, (one, other) in enumerate(zip(ours, base, strict=True)):
        # Seeds shift the loss by far more than the schedules differ: -0.10 whatever the seed.
        for trial, loss in ((one, 2.0 + k - 0.1), (other, 2.0 + k)):
            if (trial, k) in ((one, 0), (other, 3)):
                study.fail(trial.id, "no memory")
            else:
                study.tell(trial.id, {"loss": loss})
    ours, base = confirmed(study.state(), BEST)
    assert (len(ours.values), len(base.values)) == (3, 3)
    assert ours.effect.seeds == 2
    assert ours.effect.mean == pytest.approx(-0.1)
    assert ours.effect.high < 0


def test_one_common_seed_has_no_interval(make, train):
    study = make(confirm_seeds=1)
    confirm(study, train, BEST)
    one = confirmed(study.state(), BEST)[0]
    assert one.effect is None
    assert one.low is None
    assert one.mean == next(iter(one.values.values()))


def test_a_run_measured_on_both_splits_keeps_them_apart(make):
    study = make(confirm_seeds=2)
    for trial in study.add_trials(study.confirmation_trials(BEST)):
        rows = [
            Observation(
                trial=trial.id, tokens=trial.fidelity.tokens, metric="loss", value=v, split=split
            )
            for split, v in ((Split.confirmation, 3.0), (Split.validation, 2.0))
        ]
        study.tell(trial.id, rows)
    (one, _) = confirmed(study.state(), BEST)
    assert set(one.values.values()) == {3.0}
    assert set(one.search_values.values()) == {2.0}
    assert one.values.keys() == one.search_values.keys()


def test_runs_stored_under_other_names_are_found_by_what_they_are(make):
    study = make()
    planned = study.confirmation_trials(BEST)
    named = [t.model_copy(update={"id": f"c01-{t.label}-{k}"}) for k, t in enumerate(planned)]
    study.add_trials(named)
    assert study.add_trials(study.confirmation_trials(BEST)) == named


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=8, unique=True))
def test_effects_do_not_depend_on_the_order_of_seeds(values):
    one = {s: {"m": v} for s, v in enumerate(values)}
    other = {s: {"m": 2 * v} for s, v in reversed(list(enumerate(values)))}
    effect = paired_effects(one, other)["m"]
    assert effect.mean == pytest.approx(-np.mean(values), abs=1e-12)
    assert effect == Effect.paired(
        {s: v["m"] for s, v in one.items()}, {s: v["m"] for s, v in other.items()}
    )


def test_a_comparison_on_the_search_split_is_another_run(make):
    study = make()
    schedules = {"it": study.space.baseline_schedule}
    unseen = plan_runs(study.state(), schedules, seeds=2)
    seen = plan_runs(study.state(), schedules, seeds=2, split=Split.validation)
    assert not {t.id for t in unseen} & {t.id for t in seen}
    assert [t.seed for t in unseen] == [t.seed for t in seen]
    assert comparison_values(study.state(), schedules) == {"it": {}}
