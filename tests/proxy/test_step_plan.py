from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixopt.corpus import MixtureSampler
from mixopt.errors import SpaceError, TrialError
from mixopt.proxy import ProxySettings, plan_steps, tokens_with_sharing
from mixopt.space import LearningRate, Mixture, Phase, Schedule
from mixopt.space.sharing import share_to_train

from .conftest import make_trial

SETTINGS = ProxySettings(context=16, batch=4, rungs=(0.1, 0.35, 0.7, 1.0))
NAMES = ("a", "b", "c")
weights = st.lists(st.integers(0, 20), min_size=3, max_size=3).filter(any)


def mixture(amounts):
    return Mixture.normalized(dict(zip(NAMES, amounts, strict=True)))


@settings(deadline=None, max_examples=50)
@given(
    base=weights, ending=weights, fraction=st.floats(0.05, 0.95), sequences=st.integers(120, 400)
)
def test_quotas_are_met_within_one_sequence_at_every_rung(base, ending, fraction, sequences):
    schedule = Schedule.two_phase(mixture(base), mixture(ending), fraction)
    plan = plan_steps(make_trial(schedule, tokens=sequences * 16), SETTINGS)
    rng = np.random.default_rng(0)
    text = {name: rng.integers(0, 9, 500) for name in NAMES}
    sampler = MixtureSampler(text, plan.shares, plan.sequences, 16, seed=0)
    cut = plan.sequences_after(plan.phases[0][0])
    assert sampler.phase_ends == (cut, sequences)
    for step in plan.rungs:
        upto = plan.sequences_after(step)
        counts = sampler.counts(upto)
        for name in NAMES:
            before = plan.phases[0][1][name] * min(upto, cut)
            after = plan.phases[1][1][name] * max(upto - cut, 0)
            # One sequence in each phase begun: where a weight falls to zero no rule does better.
            assert abs(counts[name] - before - after) <= 1 + (upto > cut)


def test_phases_get_whole_batches_and_sum_to_the_run():
    schedule = Schedule(
        phases=(
            Phase(name="a", fraction=0.333, mixture=mixture([1, 0, 0])),
            Phase(name="b", fraction=0.333, mixture=mixture([0, 1, 0])),
            Phase(name="c", fraction=0.334, mixture=mixture([0, 0, 1])),
        )
    )
    plan = plan_steps(make_trial(schedule, tokens=50 * 64), SETTINGS)
    assert [steps for steps, _ in plan.phases] == [17, 16, 17]
    assert plan.branches == {17, 33}


def test_the_last_rung_is_the_end_and_rungs_that_fall_together_are_one():
    settings = SETTINGS.model_copy(update={"rungs": (0.01, 0.02, 0.5)})
    plan = plan_steps(make_trial(mixture([1, 1, 1]), tokens=20 * 64), settings)
    assert sorted(plan.rungs) == [1, 10, 20]


def test_the_default_rate_warms_up_holds_and_decays():
    plan = plan_steps(make_trial(mixture([1, 1, 1]), tokens=100 * 64), SETTINGS)
    rates = plan.rates / SETTINGS.learning_rate
    assert rates[0] == pytest.approx(0.1)
    assert rates[5:70] == pytest.approx(np.ones(65))
    assert rates[70:] == pytest.approx((30 - np.arange(30) - 0.5) / 30)


def test_a_phase_with_its_own_rate_runs_it_over_its_own_steps():
    own = LearningRate(peak=0.05, warmup=0.5)
    schedule = Schedule(
        phases=(
            Phase(name="base", fraction=0.6, mixture=mixture([1, 0, 0])),
            Phase(name="ending", fraction=0.4, mixture=mixture([0, 1, 0]), learning_rate=own),
        ),
        learning_rate=LearningRate(peak=0.02),
    )
    plan = plan_steps(make_trial(schedule, tokens=10 * 64), SETTINGS)
    assert plan.rates[:6] == pytest.approx([0.02] * 6)
    assert plan.rates[6:] == pytest.approx([0.0125, 0.0375, 0.05, 0.05])


def test_keys_agree_up_to_the_first_difference_and_never_after():
    trials = [
        make_trial(Schedule.two_phase(mixture([1, 1, 0]), mixture(ending), 0.4), tokens=20 * 64)
        for ending in ([0, 0, 1], [0, 1, 1])
    ]
    first, second = (plan_steps(trial, SETTINGS).prefix_keys({}) for trial in trials)
    same = [a == b for a, b in zip(first, second, strict=True)]
    assert same == [True] * 13 + [False] * 8
    assert len(set(first)) == 21


def test_keys_ignore_the_order_of_domains_and_those_of_weight_zero():
    given_trials = [make_trial({"a": 0.5, "b": 0.5}), make_trial({"b": 0.5, "c": 0.0, "a": 0.5})]
    first, second = (plan_steps(trial, SETTINGS).prefix_keys({}) for trial in given_trials)
    assert first == second


def test_a_phase_shorter_than_a_batch_is_refused():
    schedule = Schedule.two_phase(mixture([1, 0, 0]), mixture([0, 1, 0]), 0.001)
    with pytest.raises(TrialError, match=r"'ending' of t has 0\.001 of 50 batches"):
        plan_steps(make_trial(schedule), SETTINGS)


def test_less_than_a_sequence_is_refused():
    with pytest.raises(TrialError, match="at least one sequence of 16 tokens; t has 15"):
        plan_steps(make_trial(mixture([1, 0, 0]), tokens=15), SETTINGS)


def test_rungs_must_rise():
    with pytest.raises(SpaceError, match=r"rungs must rise and not repeat; got 0\.5, 0\.25"):
        ProxySettings(rungs=(0.5, 0.25))


def test_unknown_settings_are_refused():
    with pytest.raises(SpaceError, match="unknown key 'epochs'"):
        ProxySettings(epochs=3)


@settings(max_examples=30, deadline=None)
@given(
    fractions=st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3]), min_size=2, max_size=5),
    bases=st.lists(st.sampled_from([0.2, 0.6]), min_size=5, max_size=5),
    points=st.sampled_from([(), (0.7,), (0.7, 0.8, 0.9)]),
)
def test_proposals_foresee_what_the_proxy_trains(fractions, bases, points):
    trials = [
        make_trial(
            Schedule.two_phase({"up": b, "odd": 1 - b}, {"up": 0.05 * i, "odd": 1 - 0.05 * i}, f),
            tokens=1600,
            trial_id=f"t{i}",
        )
        for i, (f, b) in enumerate(zip(fractions, bases, strict=False), start=1)
    ]
    made = ProxySettings(context=16, batch=1, branch_points=points)
    trained = tokens_with_sharing(trials, made)
    schedules = [t.schedule for t in trials]
    foreseen = [share_to_train(s, schedules[:i], points) for i, s in enumerate(schedules)]
    # The same schedule again is not branched off its own end by the proxy.
    repeated = [s in schedules[:i] for i, s in enumerate(schedules)]
    for tokens, share, again in zip(trained, foreseen, repeated, strict=True):
        assert again or tokens == pytest.approx(1600 * share, abs=16)
