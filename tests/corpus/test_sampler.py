"""The sampler: exact quotas, determinism, and branches that see what a straight run sees."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixopt.corpus import MixtureSampler
from mixopt.corpus.quota import quota_order
from mixopt.errors import CorpusError
from mixopt.space import Mixture, Schedule

NAMES = ("books", "code", "mail", "web")


def arrays(sizes=(400, 90, 260, 1000)):
    # Every token id is different, so a sequence tells where it was cut.
    starts = itertools.accumulate(sizes, initial=0)
    return {
        n: np.arange(s, s + k, dtype=np.uint16)
        for n, s, k in zip(NAMES, starts, sizes, strict=False)
    }


@st.composite
def weights(draw, size=None):
    size = size or draw(st.integers(1, 12))
    raw = draw(st.lists(st.one_of(st.just(0.0), st.floats(1e-4, 1)), min_size=size, max_size=size))
    if sum(raw) == 0:
        raw[draw(st.integers(0, size - 1))] = 1.0
    return [value / math.fsum(raw) for value in raw]


@settings(max_examples=150, deadline=None)
@given(weights(), st.randoms(use_true_random=False))
def test_every_prefix_holds_every_quota_within_one(w, random):
    rank = list(range(len(w)))
    random.shuffle(rank)
    steps = 600
    order = np.fromiter(quota_order(w, rank), dtype=int, count=steps)
    taken = np.cumsum(order[:, None] == np.arange(len(w)), axis=0)
    error = np.abs(taken - np.arange(1, steps + 1)[:, None] * np.array(w))
    used = sum(value > 0 for value in w)
    bound = 1 - 1 / (2 * used - 2) if used > 1 else 0
    assert error.max() <= bound + 1e-6
    assert not taken[-1, np.array(w) == 0].any()


@settings(max_examples=60, deadline=None)
@given(weights(4), weights(4), st.floats(0.05, 0.95), st.integers(1, 400), st.integers(0, 9))
def test_each_phase_meets_its_quotas_at_every_prefix(first, second, share, total, seed):
    phases = [(share, dict(zip(NAMES, first, strict=True))),
              (1 - share, dict(zip(NAMES, second, strict=True)))]  # fmt: skip
    sampler = MixtureSampler(arrays(), phases, total, 8, seed)
    taken = np.array([list(sampler.counts(n).values()) for n in range(total + 1)])
    end = sampler.phase_ends[0]
    assert abs(end - share * total) <= 0.5 + 1e-9
    assert sampler.phase_ends[1] == total
    for part, w in ((taken[: end + 1], first), (taken[end:], second)):
        due = np.arange(len(part))[:, None] * np.array(w)
        assert np.all(np.abs(part - part[0] - due) < 1)


@settings(max_examples=30, deadline=None)
@given(weights(4), weights(4), weights(4), st.integers(0, 5))
def test_a_branch_sees_what_the_straight_run_sees(base, rich, other, seed):
    def sampler(ending):
        phases = [(0.7, dict(zip(NAMES, base, strict=True))),
                  (0.3, dict(zip(NAMES, ending, strict=True)))]  # fmt: skip
        return MixtureSampler(arrays(), phases, 200, 8, seed)

    straight, branched = sampler(rich), sampler(rich)
    end = straight.phase_ends[0]
    # The branch never looks at its past, and another ending shares the trunk.
    late = branched.batch(end, 200 - end)
    whole = straight.batch(0, 200)
    np.testing.assert_array_equal(late, whole[end:])
    np.testing.assert_array_equal(sampler(other).batch(0, end), whole[:end])


def test_batches_do_not_depend_on_how_they_are_asked_for():
    phases = [(1.0, {"books": 0.5, "code": 0.2, "web": 0.3})]
    whole = MixtureSampler(arrays(), phases, 9000, 8, 1).batch(0, 9000)
    pieces = MixtureSampler(arrays(), phases, 9000, 8, 1)
    np.testing.assert_array_equal(pieces.batch(5000, 7), whole[5000:5007])
    np.testing.assert_array_equal(pieces.batch(3, 4990), whole[3:4993])
    assert whole.shape == (9000, 9)
    assert whole.dtype == np.int64
    assert not np.array_equal(MixtureSampler(arrays(), phases, 9000, 8, 2).batch(0, 9000), whole)


def test_an_epoch_draws_every_window_once_and_the_next_in_another_order():
    tokens = {"code": np.arange(81)}
    sampler = MixtureSampler(tokens, [(0.5, {"code": 1.0}), (0.5, {"code": 1.0})], 20, 8, 0)
    starts = sampler.batch(0, 20)[:, 0]
    assert sorted(starts[:10]) == sorted(starts[10:]) == list(range(0, 80, 8))
    assert list(starts[:10]) != list(starts[10:])
    np.testing.assert_array_equal(np.diff(sampler.batch(0, 20), axis=1), 1)
    assert sampler.epochs(15) == {"code": 1.5}
    assert sampler.counts(15) == {"code": 15}
    assert sampler.offsets(15) == {"code": 120}


def test_the_order_of_the_domains_changes_nothing():
    w = {"books": 0.25, "code": 0.25, "mail": 0.25, "web": 0.25}
    forward = MixtureSampler(arrays(), [(1.0, w)], 100, 8, 3).batch(0, 100)
    turned = dict(reversed(arrays().items()))
    np.testing.assert_array_equal(
        MixtureSampler(turned, [(1.0, w)], 100, 8, 3).batch(0, 100), forward
    )


def test_a_schedule_of_the_space_room_is_taken_as_it_is():
    schedule = Schedule.two_phase(Mixture({"books": 0.5, "web": 0.5}), Mixture({"code": 1.0}), 0.2)
    sampler = MixtureSampler(arrays(), schedule, 100, 8, 0)
    assert sampler.counts(80) == {"books": 40, "code": 0, "mail": 0, "web": 40}
    assert sampler.counts(100)["code"] == 20
    assert list(sampler.phase_ends) == list(itertools.accumulate(schedule.phase_units(100)))


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([(1.0, {"code": 0.5, "web": 0.6})],
         r"weights of phase 1 must .* got 0, 0.5, 0, 0.6 \(sum 1.1\)"),
        ([(1.0, {"code": 1.5, "web": -0.5})], "weights of phase 1 must be at least 0"),
        ([(1.0, {"code": float("nan")})], "weights of phase 1"),
        ([(0.5, {"code": 1.0})], r"fractions of the phases must .* \(sum 0.5\)"),
        ([(1.0, {"poems": 1.0})], "domains that the corpus lacks: poems"),
    ],
)  # fmt: skip
def test_a_wrong_schedule_is_refused(phases, message):
    with pytest.raises(CorpusError, match=message):
        MixtureSampler(arrays(), phases, 100, 8, 0)


def test_a_domain_too_short_for_the_context_matters_only_where_it_is_drawn():
    tokens = {**arrays(), "code": np.arange(8)}
    MixtureSampler(tokens, [(1.0, {"web": 1.0})], 10, 8, 0).batch(0, 10)
    with pytest.raises(CorpusError, match=r"'code' must hold at least context \+ 1 = 9 .* got 8"):
        MixtureSampler(tokens, [(1.0, {"code": 1.0})], 10, 8, 0)


def test_ranges_outside_the_schedule_are_refused():
    sampler = MixtureSampler(arrays(), [(1.0, {"web": 1.0})], 10, 8, 0)
    with pytest.raises(CorpusError, match=r"must lie in 0\.\.10, got 8\.\.12"):
        sampler.batch(8, 4)
    with pytest.raises(CorpusError, match="at least 1, got 0 and 8"):
        MixtureSampler(arrays(), [(1.0, {"web": 1.0})], 0, 8, 0)
