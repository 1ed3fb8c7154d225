"""The trade-off curve on landscapes whose truth is known."""

import numpy as np
import pytest
from standin import Exact, Landscape, make_space

from mixopt.analysis.tradeoff import trade_off
from mixopt.errors import SpaceError, StudyError
from mixopt.propose import initial_design
from mixopt.space import geometry_of

TARGET, GENERAL = {"a": 1.0}, {"b": 0.5, "c": 0.5}


@pytest.fixture(scope="module")
def land():
    return Landscape(make_space(4, 2))


@pytest.fixture(scope="module")
def evidence(land):
    return land.evidence(initial_design(land.space, 12, seed=0))


def traced(land, evidence, slack, **given):
    return trade_off(
        land.space, Exact(land), evidence, target=TARGET, general=GENERAL, slack=slack, **given
    )


@pytest.fixture(scope="module")
def found(land, evidence):
    return traced(land, evidence, 0.02)


def truth(land, schedule):
    base = land(geometry_of(land.space).encode(land.space.baseline_schedule))[0]
    gap = dict(
        zip(land.metrics, land(geometry_of(land.space).encode(schedule))[0] - base, strict=True)
    )
    return gap["a"], 0.5 * gap["b"] + 0.5 * gap["c"]


def test_every_fraction_of_the_space_has_its_best_schedule(land, found):
    assert [c.upsample_fraction for c in found.levels] == [0.0, 0.1, 0.2, 0.3]
    for choice in [*found.levels, *found.pareto, found.chosen]:
        assert choice.schedule.upsample_fraction == pytest.approx(choice.upsample_fraction)
        assert geometry_of(land.space).broken(choice.schedule) == []
        target, general = truth(land, choice.schedule)
        assert choice.target.mean == pytest.approx(target, abs=1e-4)
        assert choice.general.mean == pytest.approx(general, abs=1e-4)


def test_the_guardrail_holds_and_is_used_up(found):
    chosen = found.chosen
    assert chosen.probability >= found.confidence
    assert 0.3 * 0.02 < chosen.general.mean <= 0.02 + 1e-6
    assert chosen.target.mean == min(c.target.mean for c in found.levels if c.probability >= 0.9)
    assert chosen.target.mean < -0.03


def test_no_schedule_tried_at_random_is_much_better_within_the_slack(land, found):
    rows = geometry_of(land.space).sample(3000, np.random.default_rng(0), vertices=0.5)
    base = land(geometry_of(land.space).encode(land.space.baseline_schedule))[0]
    gap = land(rows) - base
    i = [land.metrics.index(n) for n in ("a", "b", "c")]
    inside = 0.5 * (gap[:, i[1]] + gap[:, i[2]]) <= 0.02
    assert found.chosen.target.mean <= gap[inside, i[0]].min() + 0.005


def test_more_slack_never_gains_less(land, evidence, found):
    wider = traced(land, evidence, 0.08)
    assert wider.chosen.target.mean <= found.chosen.target.mean
    assert [c.schedule for c in wider.pareto] == [c.schedule for c in found.pareto]


def test_the_pareto_choices_trade_one_for_the_other(found):
    target = [c.target.mean for c in found.pareto]
    general = [c.general.mean for c in found.pareto]
    assert len(target) >= 5
    assert target == sorted(target)
    assert general == sorted(general, reverse=True)


def test_without_room_the_baseline_is_chosen(land, evidence):
    space = land.space.model_copy(update={"baseline": land.space.natural})
    ideal = trade_off(
        space, Exact(land), evidence, target=TARGET, general={"a": 1.0}, slack=0.0, confidence=0.99
    )
    # What is kept is what is gained on: nothing has to be given up.
    assert ideal.chosen.general.mean <= 0
    assert ideal.chosen.target.mean < -0.03


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"slack": -0.1}, StudyError, "slack must be at least 0 .* got -0.1 and 0.9"),
        ({"slack": 0.1, "confidence": 1.0}, StudyError, "between 0 and 1; got 0.1 and 1"),
    ],
)
def test_limits_out_of_range(land, evidence, given, error, message):
    with pytest.raises(error, match=message):
        traced(land, evidence, **given)


def test_metrics_that_do_not_fit(land, evidence):
    with pytest.raises(StudyError, match="which no trial measured"):
        trade_off(land.space, Exact(land), evidence, target={"zz": 1.0}, general=GENERAL, slack=0.1)
    with pytest.raises(SpaceError, match=r"must sum to 1; they sum to 0\.5"):
        trade_off(land.space, Exact(land), evidence, target={"a": 0.5}, general=GENERAL, slack=0.1)
