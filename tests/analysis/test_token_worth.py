"""What a gain is worth in tokens: known truths are recovered."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixopt.analysis.token_worth import Beyond, LossCurve, study_token_worth, token_worth
from mixopt.errors import StudyError
from mixopt.space import Fidelity, Kind, Objective, Observation, Schedule, Split, Trial

TOKENS = np.geomspace(1e6, 1e9, 40)


def power_law(speed=1.0, noise=0.0, seed=0, tokens=TOKENS):
    """A curve on which a schedule of that speed makes each token count so many times."""
    errors = noise * np.random.default_rng(seed).standard_normal(len(tokens))
    return LossCurve(tokens, 2.0 + 60.0 * (speed * tokens) ** -0.25 + errors)


@given(st.floats(1.05, 3.0))
def test_a_schedule_that_learns_faster_needs_that_much_fewer_tokens(speed):
    found = token_worth({0: power_law(speed)}, {0: power_law()})
    assert found.needed.value == pytest.approx(1 / speed, rel=5e-3)
    assert found.needed.beyond == Beyond.no
    # The baseline never reached the recommendation's end loss.
    assert (found.worth.beyond, found.worth.value) == (Beyond.more, pytest.approx(1.0))
    worse = token_worth({0: power_law()}, {0: power_law(speed)})
    assert worse.needed.beyond == Beyond.more
    assert worse.worth.value == pytest.approx(1 / speed, rel=5e-3)


def test_a_longer_run_of_the_baseline_tells_what_the_gain_is_worth():
    longer = power_law(tokens=np.geomspace(1e6, 2e9, 40))
    found = token_worth({0: power_law(1.48)}, {0: longer})
    assert found.worth.beyond == Beyond.no
    assert found.worth.value == pytest.approx(1.48, rel=5e-3)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    held = 0
    for k in range(60):
        one = {s: power_law(1.4, 2e-3, 100 * k + s) for s in range(4)}
        other = {s: power_law(1.0, 2e-3, 100 * k + 50 + s) for s in range(4)}
        found = token_worth(one, other).needed
        held += found.low <= 1 / 1.4 <= found.high
    assert held >= 50


def test_a_loss_reached_before_the_first_rung_is_a_bound():
    late = LossCurve(TOKENS[-3:], power_law().losses[-3:] - 1.0)
    found = token_worth({0: late}, {0: power_law()})
    assert found.needed.beyond == Beyond.less
    assert found.needed.value == pytest.approx(TOKENS[-3] / TOKENS[-1])


def test_one_seed_has_no_interval_and_none_in_common_no_answer():
    found = token_worth({1: power_law(1.3), 2: power_law()}, {1: power_law()})
    assert (found.seeds, found.needed.low) == (1, None)
    with pytest.raises(StudyError, match="with a common seed"):
        token_worth({1: power_law()}, {2: power_law()})


def test_curves_need_rungs():
    with pytest.raises(StudyError, match="at least two rungs"):
        LossCurve(np.array([1e6]), np.array([3.0]))


SIZE = Fidelity(parameters=1000, tokens=1_000_000)
GOOD, BASE, NEAR = (Schedule.static({"a": w, "b": 1 - w}) for w in (0.8, 0.5, 0.75))


def run(name, schedule, kind, speed, seed=0):
    trial = Trial(
        id=name,
        kind=kind,
        schedule=schedule,
        fidelity=SIZE,
        seed=seed,
        split=Split.confirmation if kind == Kind.confirmation else Split.validation,
    )
    rungs = [
        Observation(trial=name, tokens=int(t), metric=m, value=float(v), split=trial.split)
        for m in ("x", "y")
        for t, v in zip(TOKENS, power_law(speed).losses, strict=True)
    ]
    return trial, rungs


def asked(*runs):
    trials = [trial for trial, _ in runs]
    rungs = [r for _, rows in runs for r in rows]
    return study_token_worth(trials, rungs, Objective(weights={"x": 0.5, "y": 0.5}), GOOD, BASE)


def test_confirmation_runs_come_before_trials_of_the_search():
    search = run("t0", NEAR, Kind.proposed, 1.2), run("t1", BASE, Kind.initial, 1.0)
    found = asked(*search)
    assert found.needed.value == pytest.approx(1 / 1.2, rel=5e-3)
    assert "t0" in found.source
    confirmed = asked(
        *search,
        run("c0", GOOD, Kind.confirmation, 1.5, 7),
        run("c1", BASE, Kind.confirmation, 1.0, 7),
    )
    assert confirmed.needed.value == pytest.approx(1 / 1.5, rel=5e-3)
    assert confirmed.source == "confirmation runs"


def test_what_is_missing_is_named():
    with pytest.raises(StudyError, match="a finished run of the baseline"):
        asked(run("t0", NEAR, Kind.proposed, 1.2))
    with pytest.raises(StudyError, match="is the baseline"):
        study_token_worth([], [], Objective(weights={"x": 1.0}), BASE, BASE)
