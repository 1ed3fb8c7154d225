import logging

import pytest

from mixopt.advice import advise, advise_space, log_warnings, shift_between
from mixopt.space import LearningRate, Mixture, Phase, Schedule, SearchSpace

OLD = Mixture({"pile": 1.0})
REWARM = LearningRate(peak=3e-4, warmup=0.01, decay=0.99, shape="cosine", final=0.1)


def continued(mixture, rule=REWARM):
    return Schedule(phases=(Phase(name="next", mixture=mixture, learning_rate=rule),))


def messages(found, level="warning"):
    return [a.message for a in found if a.level == level]


def test_rewarming_on_the_same_data_is_warned_of_with_its_cost():
    (warning,) = messages(advise(continued({"pile": 1.0}), pretrained_on=OLD))
    assert "re-warms the learning rate on the distribution" in warning
    assert ".1 to .4 nats" in warning


def test_resuming_without_rewarming_on_the_same_data_is_fine():
    resumed = LearningRate(peak=3e-5)
    halves = (
        Phase(name="a", fraction=0.5, mixture=OLD, learning_rate=resumed),
        Phase(name="b", fraction=0.5, mixture=OLD, learning_rate=resumed),
    )
    assert messages(advise(Schedule(phases=halves))) == []


@pytest.mark.parametrize(
    ("share", "warned"), [(0.0, True), (0.1, True), (0.25, False), (0.4, False)]
)
def test_a_strong_shift_wants_a_quarter_of_replay(share, warned):
    found = messages(advise(continued({"pile": share, "german": 1 - share}), pretrained_on=OLD))
    assert any("replays" in m and "3.56 to 2.33" in m for m in found) == warned


def test_a_weak_shift_wants_five_percent():
    old = Mixture({"pile": 0.5, "web": 0.5})
    assert shift_between(old, Mixture({"pile": 0.3, "web": 0.3, "slim": 0.4})) == "weak"
    found = advise(continued({"pile": 0.3, "web": 0.3, "slim": 0.4}), pretrained_on=old)
    assert messages(found) == []
    assert any("warm-ups of 0 to 2 %" in m for m in messages(found, "note"))


@pytest.mark.parametrize(("peak", "level"), [(3e-4, "note"), (3e-5, "warning")])
def test_a_shift_at_a_dead_rate_is_warned_of_and_a_rewarmed_one_noted(peak, level):
    decayed = LearningRate(peak=3e-4, decay=1.0, final=0.1)
    ending = LearningRate(peak=peak)
    schedule = Schedule(
        phases=(
            Phase(name="base", fraction=0.8, mixture=OLD, learning_rate=decayed),
            Phase(
                name="ending",
                fraction=0.2,
                mixture={"pile": 0.7, "code": 0.3},
                learning_rate=ending,
            ),
        )
    )
    (advice,) = advise(schedule)
    assert advice.level == level
    assert (
        "re-warms on a weak shift" if level == "note" else "at 10% of the peak"
    ) in advice.message


@pytest.mark.parametrize(("fraction", "noted"), [(0.02, 1), (0.1, 0), (0.3, 0), (0.5, 1)])
def test_endings_outside_the_swept_range_are_noted(fraction, noted):
    schedule = Schedule.two_phase({"a": 1.0}, {"a": 0.6, "b": 0.4}, fraction)
    assert sum("5 to 30 %" in m for m in messages(advise(schedule), "note")) == noted


def test_a_peak_that_only_the_last_phase_names_is_the_runs_own():
    run = LearningRate(warmup=0.05)
    ending = LearningRate(peak=0.01, decay=1.0)
    phases = (
        Phase(name="base", fraction=0.8, mixture=OLD),
        Phase(name="ending", fraction=0.2, mixture={"pile": 0.7, "code": 0.3}),
    )
    last = phases[1].model_copy(update={"learning_rate": ending})
    schedule = Schedule(phases=(phases[0], last), learning_rate=run)
    # The trunk is still at the peak, so the ending neither re-warms nor starves.
    assert not any("without re-warming" in m for m in messages(advise(schedule)))
    low = last.model_copy(update={"learning_rate": LearningRate(peak=0.001, decay=1.0)})
    named = schedule.model_copy(
        update={"phases": (phases[0], low), "learning_rate": LearningRate(peak=0.01)}
    )
    # The run never decays, so an ending at a tenth of it is a drop, not a dead rate.
    assert not any("re-warms" in m for m in messages(advise(named)))


def test_a_run_that_has_decayed_is_seen_as_such():
    run = LearningRate(peak=0.01, decay=0.9, final=0.1)
    again = LearningRate(peak=0.01, warmup=0.02, decay=0.98)
    phases = (
        Phase(name="base", fraction=0.95, mixture=OLD),
        Phase(name="again", fraction=0.05, mixture=OLD, learning_rate=again),
    )
    (warning,) = messages(advise(Schedule(phases=phases, learning_rate=run)))
    assert "phase 'again' re-warms the learning rate on the distribution" in warning


def two_phases(ending, rule, fraction=0.2, run=None):
    base = {"name": "base", "fixed": {"pile": 1.0, "new": 0.0}}
    last = {"name": "ending", "fraction": fraction, "learning_rate": rule, **ending}
    return SearchSpace(
        domains=["pile", "new"],
        baseline={"pile": 1.0, "new": 0.0},
        phases=[base, last],
        learning_rate=run or {"peak": 0.01, "decay": 0.9, "final": 0.1},
    )


AGAIN = {"peak": 0.01, "warmup": 0.02, "decay": 0.98}


def test_a_space_that_rewarms_on_the_same_data_is_warned_of_before_it_is_trained():
    space = two_phases({"tied": "base"}, AGAIN)
    (warning,) = [a for a in advise_space(space) if a.level == "warning"]
    assert str(warning).startswith("Warning: phase 'ending' re-warms the learning rate on the")
    assert str(warning).endswith(f"(1 of 2 schedules looked at) ({warning.source}).")


def test_a_space_whose_ending_replays_too_little_is_warned_of():
    bounds = {"bounds": {"pile": (0.0, 0.2)}}
    found = messages(advise_space(two_phases(bounds, AGAIN)))
    assert any("of old data on a strong shift; 25% is a start" in m for m in found)
    kept = {"bounds": {"pile": (0.25, 0.45)}}
    assert not messages(advise_space(two_phases(kept, AGAIN)))


def test_the_ends_of_a_searched_peak_are_looked_at():
    rule = {**AGAIN, "peak": {"min": 1e-4, "max": 1e-2}}
    kept = {"bounds": {"pile": (0.6, 0.8)}}
    (warning,) = [a for a in advise_space(two_phases(kept, rule)) if a.level == "warning"]
    assert "at 10% of the peak rate without re-warming" in warning.message
    assert "(2 of 4 schedules looked at)" in warning.message


def test_resuming_must_keep_the_value_of_the_rate():
    half = LearningRate(peak=0.005)
    phases = (
        Phase(name="a", fraction=0.5, mixture=OLD, learning_rate=LearningRate(peak=0.01)),
        Phase(name="b", fraction=0.5, mixture=OLD, learning_rate=half),
    )
    (warning,) = messages(advise(Schedule(phases=phases)))
    assert "at 50% of the peak rate where it stopped at 100%" in warning
    assert "after a break resume its value and its decay exactly" in warning


@pytest.mark.parametrize(
    ("peak", "warmup", "warned"), [(1.0, 0.02, 1), (0.5, 0.0, 1), (0.5, 0.02, 0)]
)
def test_a_short_phase_wants_a_lower_peak_and_a_longer_warmup(peak, warmup, warned):
    rule = LearningRate(peak=0.01 * peak, warmup=warmup, decay=0.9)
    first = LearningRate(peak=0.01, decay=0.9, final=0.1)
    phases = (
        Phase(name="base", fraction=0.96, mixture=OLD, learning_rate=first),
        Phase(name="end", fraction=0.04, mixture={"pile": 0.7, "new": 0.3}, learning_rate=rule),
    )
    found = messages(advise(Schedule(phases=phases)))
    assert sum("lower peak and a longer warm-up" in m for m in found) == warned


def test_a_searched_fraction_beside_a_rule_of_a_phase_is_warned_of():
    phases = ({"name": "base"}, {"name": "ending", "fraction": [0.1, 0.3], "learning_rate": AGAIN})
    space = SearchSpace(domains=("pile", "new"), phases=phases, baseline="uniform")
    said = "the fraction of ending is searched while ending has a learning-rate rule of its own"
    assert any(said in m for m in messages(advise_space(space)))
    once = ({"name": "base"}, {"name": "ending", "fraction": 0.3, "learning_rate": AGAIN})
    alone = SearchSpace(domains=("pile", "new"), phases=once, baseline="uniform")
    assert not any("is searched while" in m for m in messages(advise_space(alone)))


def test_log_warnings_are_shown_and_notes_are_not(caplog, monkeypatch):
    # The command line turns the log off for the rest of its process.
    monkeypatch.setattr(logging.getLogger("mixopt.advice"), "disabled", False)
    log_warnings(advise_space(two_phases({"tied": "base"}, AGAIN, fraction=0.5)))
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("mixopt.advice", "WARNING")
    assert "never recovered" in record.message
