import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixopt.errors import MixoptError, SpaceError
from mixopt.space import LearningRate, Mixture, Phase, Schedule, largest_remainder

amounts = st.lists(st.floats(0, 1e6), min_size=1, max_size=12).filter(lambda v: sum(v) > 1e-3)


@given(amounts)
def test_a_normalized_mixture_sums_to_one(values):
    mixture = Mixture.normalized({f"d{i}": v for i, v in enumerate(values)})
    assert sum(mixture.values()) == pytest.approx(1, abs=1e-12)
    assert all(w >= 0 for w in mixture.values())


@given(amounts, st.integers(0, 10**9))
def test_rounding_keeps_the_total_and_stays_within_one(values, total):
    shares = np.array(values)
    counts = largest_remainder(shares, total)
    assert counts.sum() == total
    assert np.all(np.abs(counts - shares / shares.sum() * total) < 1 + 1e-6)


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ({"a": 0.5, "b": 0.4}, "must sum to 1; they sum to 0.9"),
        ({"a": 1.5, "b": -0.5}, "weight of 'b' in mixture must be at least 0; got -0.5"),
        ({"a": float("nan")}, "must be at least 0; got nan"),
        ({"a": "half"}, "must be a number; got 'half'"),
        ({}, "has no domains"),
    ],
)
def test_a_bad_mixture_is_refused_in_one_sentence(weights, text):
    with pytest.raises(SpaceError, match=text):
        Mixture(weights)


def test_order_and_absent_zeros_do_not_matter_to_equality():
    one, other = Mixture({"a": 0.25, "b": 0.75}), Mixture({"b": 0.75, "c": 0.0, "a": 0.25})
    assert one == other
    assert hash(one) == hash(other)
    assert one != Mixture({"a": 0.75, "b": 0.25})


def test_warmup_stable_decay_rises_holds_and_falls():
    rule = LearningRate(warmup=0.1, decay=0.3, final=0.1)
    assert [rule.factor(p) for p in (0, 0.05, 0.1, 0.5, 0.7, 0.85, 1)] == pytest.approx(
        [0, 0.5, 1, 1, 1, 0.55, 0.1]
    )


@pytest.mark.parametrize("shape", ["linear", "cosine", "sqrt", "inverse_sqrt"])
def test_every_decay_falls_steadily_from_one_to_final(shape):
    rule = LearningRate(decay=1.0, shape=shape, final=0.05)
    values = [rule.factor(p) for p in np.linspace(0, 1, 50)]
    assert values[0] == pytest.approx(1)
    assert values[-1] == pytest.approx(0.05)
    assert all(a > b for a, b in itertools.pairwise(values))


def test_warmup_and_decay_share_one_stretch():
    with pytest.raises(SpaceError, match=r"must not sum to more than 1; got 0\.6 \+ 0\.5"):
        LearningRate(warmup=0.6, decay=0.5)


def test_a_phase_follows_its_own_rule_and_the_others_the_runs():
    rewarm = LearningRate(peak=2e-3, warmup=0.5)
    schedule = Schedule(
        phases=(
            Phase(name="base", fraction=0.8, mixture={"a": 1}),
            Phase(name="ending", fraction=0.2, mixture={"b": 1}, learning_rate=rewarm),
        ),
        learning_rate=LearningRate(peak=1e-3, decay=0.4),
    )
    assert schedule.rate_factor(0.5) == (1.0, 1e-3)
    assert schedule.rate_factor(0.7) == (pytest.approx(0.75), 1e-3)
    assert schedule.rate_factor(0.85) == (pytest.approx(0.5), 2e-3)


def test_a_two_phase_schedule_accounts_for_every_token():
    schedule = Schedule.two_phase({"a": 0.9, "b": 0.1}, {"a": 0.3, "b": 0.7}, 0.2)
    assert schedule.tokens(1000) == [{"a": 720, "b": 80}, {"a": 60, "b": 140}]
    assert schedule.exposure() == Mixture({"a": 0.78, "b": 0.22})
    assert schedule.upsampling_ratio()["b"] == pytest.approx(7)
    assert schedule.epochs(1000, {"a": 390, "b": None}) == {"a": 2.0}
    assert Schedule.model_validate(schedule.model_dump()) == schedule


def test_fractions_must_sum_to_one():
    with pytest.raises(SpaceError, match="fractions of a schedule's phases must sum to 1"):
        Schedule(phases=(Phase(fraction=0.5, mixture={"a": 1}),))


def test_an_unknown_field_is_named():
    with pytest.raises(SpaceError, match="Phase, fractoin: unknown key 'fractoin'"):
        Phase(fractoin=0.5, mixture={"a": 1})


def test_errors_keep_their_hint_across_processes():
    error = pickle.loads(pickle.dumps(MixoptError("it broke", "mend it")))
    assert str(error) == "it broke\nhint: mend it"
