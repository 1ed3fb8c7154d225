"""Quotas, offsets and epochs of an export."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixopt.errors import ExportError
from mixopt.export import plan_export
from mixopt.export.export_plan import exact_shares
from mixopt.space import Schedule, SearchSpace

BASE = {"web": 0.7, "code": 0.3, "books": 0.0}
RICH = {"web": 0.3, "code": 0.3, "books": 0.4}


def two_phase(fraction: float = 0.2) -> Schedule:
    return Schedule.two_phase(BASE, RICH, fraction)


@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=20).filter(lambda v: sum(v) > 0),
)
def test_shares_sum_to_exactly_one(counts):
    shares = exact_shares({str(i): c for i, c in enumerate(counts) if c})
    assert math.fsum(shares.values()) == 1.0
    assert min(shares.values()) > 0


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(10**6, 10**12),
    length=st.sampled_from([None, 128, 2048]),
    batch=st.sampled_from([None, 4]),
    fraction=st.floats(0.05, 0.5),
    seed=st.integers(0, 2**31),
)
def test_quotas_are_whole_and_offsets_follow(tokens, length, batch, fraction, seed):
    rng = np.random.default_rng(seed)
    names = ["a", "b", "c", "d"]
    base, ending = (
        dict(zip(names, map(float, rng.dirichlet(np.ones(4))), strict=True)) for _ in range(2)
    )
    schedule = Schedule.two_phase(base, ending, fraction)
    plan = plan_export(schedule, tokens=tokens, sequence_length=length, batch=batch)
    unit = (length or 1) * (batch or 1)
    assert abs(plan.tokens - tokens) <= unit / 2
    seen = dict.fromkeys(names, 0)
    start = 0
    for phase, asked in zip(plan.phases, schedule.phases, strict=True):
        assert phase.start == start
        assert sum(phase.quota.values()) == phase.sequences
        assert phase.sequences % (batch or 1) == 0
        for name, count in phase.quota.items():
            assert abs(count - asked.mixture[name] * phase.sequences) < 1
            assert phase.offset[name] == seen[name]
            seen[name] += count
        start += phase.sequences
    assert start == plan.sequences


def test_domains_without_weight_are_left_out():
    plan = plan_export(two_phase(), tokens=10_000)
    assert set(plan.phases[0].quota) == {"web", "code"}
    assert plan.phases[1].offset == {"web": 5600, "code": 2400, "books": 0}


def test_epochs_over_the_supply():
    plan = plan_export(two_phase(), tokens=10_000, supply={"books": 400})
    assert plan.epochs("books", plan.drawn("books")) == 2.0
    assert plan.epochs("web", plan.drawn("web")) is None


def space(**more) -> SearchSpace:
    return SearchSpace.model_validate(
        {
            "domains": {
                "web": {"tokens": 10**6},
                "code": {"tokens": 10**6},
                "books": {"tokens": 500},
            },
            "phases": [{"name": "base"}, {"name": "ending", "fraction": [0, 0.2]}],
            "target": {"parameters": 1, "tokens": 10_000},
            **more,
        }
    )


def test_tokens_come_from_the_target():
    assert plan_export(two_phase(), space()).tokens == 10_000


def test_a_broken_cap_is_refused():
    with pytest.raises(ExportError, match=r"read 'books' 1.6 times; its cap is 1 epochs"):
        plan_export(two_phase(), space(max_epochs=1))
    assert plan_export(two_phase(), space(max_epochs=2)).tokens == 10_000


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "needs the run's training tokens, at least 1; got None"),
        ({"tokens": 0}, "at least 1; got 0"),
        ({"tokens": 100, "sequence_length": 0}, "sequence_length must be at least 1; got 0"),
        ({"tokens": 100, "batch": -1}, "batch must be at least 1; got -1"),
        ({"tokens": 4, "sequence_length": 1}, "phase 'ending' must last at least a token"),
        ({"tokens": 512, "sequence_length": 128, "batch": 4}, "at least a step of 512 tokens"),
    ],
)
def test_refusals(more, message):
    fraction = 0.1 if more.get("tokens") == 4 else 0.2
    with pytest.raises(ExportError, match=message):
        plan_export(two_phase(fraction), **more)


def test_unknown_domains_are_refused():
    with pytest.raises(ExportError, match=r"paths names the unknown domains \['webb'\]"):
        plan_export(two_phase(), space(), paths={"webb": "x"})
    with pytest.raises(ExportError, match=r"supply names the unknown domains \['webb'\]"):
        plan_export(two_phase(), space(), supply={"webb": 1})
