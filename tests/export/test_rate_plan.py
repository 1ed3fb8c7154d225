"""Learning rates laid over phases, and as trainers read them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixopt.export import exporter_of, plan_export
from mixopt.export.rate_plan import RatePlan, plan_rates, rate_stages
from mixopt.space import LearningRate, Phase, Schedule

RULES = st.builds(
    lambda warmup, decay, shape, start, final: LearningRate(
        peak=1e-3, warmup=warmup, decay=decay * (1 - warmup), shape=shape, start=start, final=final
    ),
    st.floats(0, 0.5),
    st.floats(0, 1),
    st.sampled_from(["linear", "cosine", "sqrt", "inverse_sqrt"]),
    st.floats(0, 0.9),
    st.floats(0, 0.9),
)


def with_ending(fraction, rule, whole=None):
    """One mixture throughout, and a rule of its own for the end of the run."""
    base = Phase(name="base", fraction=1 - fraction, mixture={"a": 1.0})
    end = Phase(name="end", fraction=fraction, mixture={"a": 1.0}, learning_rate=rule)
    return Schedule(phases=(base, end), learning_rate=whole)


@settings(max_examples=80, deadline=None)
@given(rule=RULES, begin=st.integers(0, 4000), length=st.integers(1000, 6000))
def test_stages_follow_the_rule(rule, begin, length):
    """Straight pieces are the rule wherever it is straight, and near it elsewhere."""
    rate = RatePlan(rule, 0, 10_000, 1e-3)
    end = min(begin + length, 10_000)
    stages = rate_stages(rate, begin, end)
    assert sum(s.units for s in stages) == end - begin
    at = begin
    straight = rule.shape == "linear" or at < 10_000 * (1 - rule.decay)
    for stage in stages:
        assert stage.first == pytest.approx(rule.factor(at / 10_000), abs=1e-9)
        at += stage.units
        assert stage.last == pytest.approx(rule.factor(at / 10_000), abs=1e-9)
    assert straight or stages


@settings(max_examples=80, deadline=None)
@given(
    start=st.floats(0, 1),
    warmup=st.floats(0.02, 0.9),
    base=st.floats(0.05, 0.9),
    at=st.floats(0, 1),
)
def test_megatron_warms_up_again_along_a_line_from_the_start_of_the_run(start, warmup, base, at):
    """The rate of ``OptimizerParamScheduler.get_lr`` in its warm-up is the phase's own."""
    rule = LearningRate(peak=2.0, warmup=warmup, start=start)
    schedule = with_ending(1 - base, rule)
    plan = plan_export(schedule, tokens=10**6, sequence_length=2, batch=2, paths={"a": "/a"})
    flags = exporter_of("megatron").write(plan).rates[1]
    phase = plan.phases[1]
    rise = flags["--lr-warmup-samples"] - phase.start
    samples = phase.start + at * rise
    init = flags["--lr-warmup-init"]
    rate = init + (2.0 - init) * samples / flags["--lr-warmup-samples"]
    # The warm-up is a whole number of samples.
    assert rate == pytest.approx(2.0 * rule.factor(at * rise / phase.sequences), abs=2 / rise)


def test_an_ending_with_a_rule_of_its_own_is_not_at_rate_zero():
    """Megatron counts samples from the start of the run: the rule's end is that of the phase."""
    schedule = with_ending(0.2, LearningRate(peak=1e-3, decay=1.0))
    plan = plan_export(schedule, tokens=10**6, sequence_length=10, batch=10, paths={"a": "/a"})
    flags = exporter_of("megatron").write(plan).rates[1]
    assert flags["--lr-decay-samples"] == 100_000
    assert flags["--lr-wsd-decay-samples"] == 20_000
    assert "--override-opt-param-scheduler" in flags
    nanotron = exporter_of("nanotron").write(plan).rates[1]
    assert nanotron["lr_decay_starting_step"] == 8_000
    assert nanotron["lr_decay_steps"] == 2_000


def test_peaks_keep_their_ratio_to_the_first():
    whole = LearningRate(peak=1e-2, warmup=0.2)
    schedule = with_ending(0.5, LearningRate(peak=2e-3, warmup=0.1), whole)
    spans = [(0, 50), (50, 100)]
    known = plan_rates(schedule, spans, peak=3e-4)
    assert [r.peak for r in known] == pytest.approx([3e-4, 6e-5])
    hidden = plan_rates(schedule, spans, of_trials=("peak", "warmup"))
    assert [r.peak_text for r in hidden] == ["PEAK_LEARNING_RATE", "0.2 * PEAK_LEARNING_RATE"]
    # The warm-up of the run is the proxy's; that of the phase was chosen with the mixture.
    assert [r.warmup() for r in hidden] == ["WARMUP", 5]
    assert plan_rates(Schedule.static({"a": 1.0}), [(0, 100)]) == (None,)
