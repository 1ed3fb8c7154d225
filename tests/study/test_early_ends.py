"""Trials that end early: when they may, and what is learned from them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixopt.space import Guardrail, Objective, SearchSpace
from mixopt.study import CommandTrainer, State, Study, TrialBudget
from mixopt.study.early_ends import PRICE, Curves, why_end
from mixopt.study.run_trial import run_trial

SHARES = (0.2, 0.5, 1.0)


@pytest.fixture
def curves(train):
    """Trains ``train`` by rungs: before the end a loss is higher by what is left."""

    def run(schedule, fidelity, seed):
        end = train(schedule, fidelity, seed)
        for share in SHARES:
            high = 1 + 0.2 * (1 - share)
            rung = {name: high * value for name, value in end.items()}
            yield {"tokens": int(share * fidelity.tokens), **rung}

    return run


def test_trials_that_cannot_become_the_best_end_early_and_are_learned_from(make, curves, train):
    study = make(early_stop=True, budget=TrialBudget(trials=14), batch=8, initial=6)
    found = study.optimize(curves)
    early = [r for r in study.records() if r.state == State.ended_early]
    assert early
    assert "r00-t00" in study.final_values()
    state = study.state()
    assert state.early_ends.keys() == {r.trial.id for r in early}
    evidence, _ = study.learned()
    assert set(evidence.ids) == {r.trial.id for r in study.records()}
    assert (~evidence.measured).sum() == len(early)
    for record in early:
        end, trial = state.early_ends[record.trial.id], record.trial
        true = train(trial.schedule, trial.fidelity, trial.seed)
        assert abs(end.objective - true["loss"]) < 4 * end.objective_sd
        assert end.values["loss"] == pytest.approx(end.objective)
    # None of them is taken for observed, and what they did not train is not spent.
    finals = study.final_values()
    assert found.best_observed.trial in finals
    assert found.best_observed.value == min(v["loss"] for v in finals.values())
    assert "by their predicted ends" in found.notes[0]
    left_out = sum(1 - SHARES[0] for _ in early)
    spent, whole = study.spent(), study.fidelity.tokens
    assert spent.tokens <= (spent.trials - 0.5 * left_out) * whole
    frame = study.trials().set_index("trial").loc[[r.trial.id for r in early]]
    assert frame.objective.isna().all()
    assert np.isfinite(frame.predicted_end).all()


def told(study, shares, fewest=6):
    """Tells rungs of the first round's trials, each later one with a better loss."""
    trials = study.ask()
    for n, trial in enumerate(trials[:fewest]):
        for share in shares:
            value = {"loss": 3.0 - 0.1 * n + (1 - share), "other": 1.0 + 0.1 * n}
            tokens = int(share * trial.fidelity.tokens)
            rows = [observed(trial, tokens, m, v) for m, v in value.items()]
            study.record(trial.id, rows)
        study.finish(trial.id)
    return trials[fewest:]


def observed(trial, tokens, metric, value):
    from mixopt.space import Observation

    return Observation(trial=trial.id, tokens=tokens, metric=metric, value=value)


def test_what_may_end_and_why(make):
    study = make(initial=8)
    bad, *_ = told(study, (0.5, 1.0))
    half = study.fidelity.tokens // 2
    assert "better than the best trial at its rung" in study.why_end(bad.id, half, {"loss": 3.9})
    # It may be the best, no other was seen at this rung, it is at its end, or lacks the metric.
    assert study.why_end(bad.id, half, {"loss": 2.9}) is None
    assert study.why_end(bad.id, half + 1, {"loss": 3.9}) is None
    assert study.why_end(bad.id, study.fidelity.tokens, {"loss": 3.9}) is None
    assert study.why_end(bad.id, half, {"other": 3.9}) is None
    base = next(t for t in study.state().finished if t.schedule == study.space.baseline_schedule)
    assert study.why_end(base.id, half, {"loss": 99.0}) is None


def test_a_rest_is_left_once_it_is_not_worth_its_tokens(make):
    study = make(initial=8)
    near, *_ = told(study, (0.5, 1.0))
    half, values = study.fidelity.tokens // 2, {"loss": 3.01}
    assert study.why_end(near.id, half, values) is None
    study.add_event("decision", {"trials": 0, "stop": False, "reason": "", "noise": 0.1})
    assert "improve on the best (2.5000) by 0.0" in study.why_end(near.id, half, values)
    # What seems the best goes on, however large the noise.
    assert study.why_end(near.id, half, {"loss": 2.99}) is None


def line_of(ends, earlier=(), sign=1):
    """Curves of finished trials that were higher by a half at the rung; with -1 of scores."""
    kinds = {"loss": {"kind": "identity", "goal": "minimize" if sign > 0 else "maximize"}}
    objective = Objective(weights={"loss": 1.0}, kinds=kinds)
    rungs, groups = ([{"loss": sign * (v + 0.5)} for v in part] for part in (ends, earlier))
    return Curves(objective, 0.5, rungs, [{"loss": sign * v} for v in ends], [], [groups])


@given(
    st.lists(st.integers(0, 40), min_size=2, max_size=6, unique=True),
    st.floats(0, 1),
    st.floats(1, 5),
    st.floats(0.0, 0.3),
)
@settings(max_examples=60, deadline=None)
def test_rules_of_ending(ends, near, worse, noise):
    ends = [2 + n / 20 for n in ends]
    best, curves = min(ends), line_of(ends)
    # The best of all at the rung goes on; where a trial ends, worse ones do; losses and scores
    # are treated alike.
    at = best + 0.5 + near
    assert why_end(curves, {"loss": best + 0.5 - near - 1e-3}, best, noise) is None
    if why_end(curves, {"loss": at}, best, noise):
        assert why_end(curves, {"loss": at + worse / 5}, best, noise)
    mirrored = line_of(ends, sign=-1)
    found = why_end(mirrored, {"loss": -at}, -best, noise)
    assert (found is None) == (why_end(curves, {"loss": at}, best, noise) is None)


def test_curves_that_ended_before_count_in_how_far_curves_differ():
    alike = [2.0, 2.01, 2.02, 2.015]
    selected, whole = line_of(alike), line_of(alike, earlier=(2.0, 2.01, 2.02, 3.5, 3.1))
    at = {"loss": 2.54}
    assert whole.end_of(at).objective_sd > 5 * selected.end_of(at).objective_sd
    assert why_end(selected, at, 2.0, 0.01)
    assert why_end(whole, at, 2.0, 0.0) is None


def test_before_any_trial_has_finished_only_bad_ones_end(make):
    study = make(initial=8)
    half, trials = study.fidelity.tokens // 2, study.ask()
    base = study.space.baseline_schedule
    first, second, last = [t for t in trials if t.schedule != base][:3]
    study.record(first.id, [observed(first, half, m, 3.0) for m in ("loss", "other")])
    assert study.why_end(last.id, half, {"loss": 9.0}) is None
    study.record(second.id, [observed(second, half, m, 3.2) for m in ("loss", "other")])
    assert "best trial at its rung" in study.why_end(last.id, half, {"loss": 9.0})
    assert study.why_end(last.id, half, {"loss": 3.05}) is None


def test_the_best_is_one_that_keeps_the_guardrails(make):
    rail = Guardrail(metric="other", bound=1.25)
    study = make(initial=8, objective=Objective(weights={"loss": 1.0}, guardrails=(rail,)))
    told(study, (0.5, 1.0))
    assert study.state().best_finished == pytest.approx(2.8)
    slack = Guardrail(metric="other", slack=0.15)
    other = make(
        initial=8,
        objective=Objective(weights={"loss": 1.0}, guardrails=(slack,)),
        storage=study.store.address.set(database=study.store.address.database + "2"),
    )
    told(other, (0.5, 1.0))
    base = other.space.baseline_schedule
    at_base = [t for t in other.state().finished if t.schedule == base]
    kept = other.state().best_finished
    assert (kept is not None) == bool(at_base)


@pytest.mark.parametrize(
    "changed",
    [
        {"learning_rate": {"peak": [0.01, 0.02]}},
        {"phases": [{"name": "base"}, {"name": "ending", "fraction": 0.3}]},
    ],
)
def test_curves_that_are_not_aligned_say_nothing(changed, tmp_path):
    space = SearchSpace(domains=("web", "code"), baseline="uniform", **changed)
    study = Study("two", space, {"loss": 1.0}, storage=tmp_path / "two.db", initial=8)
    bad, *_ = told(study, (0.5, 0.8, 1.0))
    half = study.fidelity.tokens // 2
    assert study.why_end(bad.id, half, {"loss": 3.9}) is None
    late = study.why_end(bad.id, int(0.8 * study.fidelity.tokens), {"loss": 3.9})
    assert (late is None) == ("learning_rate" in changed)


def test_trials_stopped_by_others_are_learned_from_too(make):
    study = make(initial=8)
    last, other = told(study, (0.5, 1.0))
    study.tell(last.id, {"loss": 3.2, "other": 1.0}, tokens=study.fidelity.tokens // 2)
    study.tell(other.id, {"loss": 3.2}, tokens=study.fidelity.tokens // 4)
    state = study.state()
    assert state.early_ends.keys() == {last.id}
    assert state.early_ends[last.id].objective == pytest.approx(2.7, abs=0.02)
    assert last.id in study.learned()[0].ids
    assert other.id not in study.learned()[0].ids
    assert [line.split(":")[0] for line in state.left_out] == [
        "1 of 8 trials ended before their last token",
        "1 of 8 trials ended before their last token and are left out",
    ]


RUNG = 'echo "{{\\"tokens\\": $(({{tokens}} * {} / 4)), \\"loss\\": 9, \\"other\\": 1}}"'


def test_a_command_ends_at_a_rung_that_it_writes_while_it_runs(make, tmp_path):
    study = make(initial=8, early_stop=True)
    trial, other = told(study, (0.25, 0.5, 1.0))
    quarter = study.fidelity.tokens // 4
    assert study.why_end(trial.id, quarter, {"loss": 9.0}) is not None
    # It would wait for ever for a file that nobody writes.
    waits = f"{RUNG.format(1)} > {{out}}; while [ ! -e never ]; do sleep 0.1; done; touch went-on"
    assert run_trial(study, CommandTrainer(waits, directory=str(tmp_path)), trial)
    assert study.record_of(trial.id).state == State.ended_early
    assert not (tmp_path / "went-on").exists()
    # What is read when the command is over was trained anyway, and is not thrown away.
    prints = "; ".join(RUNG.format(share) for share in (1, 2, 4))
    assert run_trial(study, CommandTrainer(prints, directory=str(tmp_path)), other)
    assert study.record_of(other.id).state == State.finished


def test_a_whole_run_is_worth_what_ends_a_search():
    # Written twice: early ends are judged where PyTorch need not be loaded.
    from mixopt.propose.stopping import WORTH

    assert PRICE == WORTH
