"""Trials that fail or end early: reported, replaced, and never taken for results."""

import pytest

from mixopt.errors import StudyError, TrialError
from mixopt.study import State, TrialBudget
from mixopt.study.search_end import require_progress


class Flaky:
    """Trains, but fails the calls that it is told to."""

    def __init__(self, train, fails):
        self.train, self.fails, self.calls = train, fails, 0

    def __call__(self, schedule, fidelity, seed):
        self.calls += 1
        if self.fails(self.calls):
            raise TrialError("out of memory", "take less")
        return self.train(schedule, fidelity, seed)


def test_a_failure_alone_in_its_round_does_not_end_the_study(make, train):
    study = make(batch=1)
    found = study.optimize(Flaky(train, lambda call: call == 7), confirm=True)
    states = [r.state for r in study.records() if r.search]
    assert states.count(State.failed) == 1
    assert study.stop_reason == "the budget of 10 trials is spent"
    assert [c.label for c in found.confirmations] == ["recommendation", "baseline"]


def test_a_trainer_that_fails_for_good_ends_the_search_with_what_it_has(make, train):
    study = make(batch=2, budget=TrialBudget(trials=40), most_failures=4, confirm_seeds=2)
    found = study.optimize(Flaky(train, lambda call: 6 < call < 11), confirm=True)
    assert study.stop_reason.startswith("the last 4 trials failed, and 4 in a row are the most")
    assert sum(r.state == State.failed for r in study.records()) == 4
    assert len(found.confirmations) == 2
    # Once mended and queued again they run, and the search goes on.
    again = make(batch=2, budget=TrialBudget(trials=12), most_failures=4, confirm_seeds=2)
    assert len(again.requeue()) == 4
    assert not again.should_stop()


def test_failures_of_the_initial_design_are_replaced(make, train):
    study = make(budget=TrialBudget(trials=12))
    trials = study.ask()
    study.tell(trials[0].id, train(trials[0].schedule, None, trials[0].seed))
    for trial in trials[1:]:
        study.fail(trial.id, "disk full")
    assert not study.should_stop()
    more = study.ask()
    assert {t.kind for t in more} == {"initial"}
    assert len(more) == 5
    assert not {t.id for t in trials} & {t.id for t in more}
    assert study.space.baseline_schedule not in [t.schedule for t in more]


def test_a_first_round_of_failures_stops_after_a_few(make, train):
    study = make()
    flaky = Flaky(train, lambda _: True)
    with pytest.raises(StudyError, match="the first 3 trials failed and none has finished"):
        study.optimize(flaky)
    assert flaky.calls == 3
    # Two failures and then a success are no reason to stop.
    study = make(storage=None)
    assert study.optimize(Flaky(train, lambda call: call < 3)).predicted.mean < 2.5


def test_failures_before_any_result_are_told_apart_from_later_ones(make, train):
    study = make()
    trials = study.ask()
    for trial in trials[:2]:
        study.fail(trial.id, "broken")
    require_progress(study.state())
    study.fail(trials[2].id, "broken")
    with pytest.raises(StudyError, match=r"r00-t00: broken.*\nhint.*--retry-failed"):
        require_progress(study.state())
    study.tell(trials[3].id, train(trials[3].schedule, None, 0))
    require_progress(study.state())


@pytest.mark.parametrize("how", ["tell", "rungs"])
def test_a_loss_below_the_trials_tokens_ends_it_early(make, train, how):
    study = make()
    trials = study.ask()
    first, *rest = trials
    quarter = first.fidelity.tokens // 4
    if how == "tell":
        study.tell(first.id, {"loss": 1.0}, tokens=quarter)
        study.tell(first.id, {"loss": 1.0}, tokens=quarter)
    else:
        from mixopt.space import Observation

        rung = Observation(trial=first.id, tokens=quarter, metric="loss", value=1.0)
        study.record(first.id, [rung])
        study.finish(first.id)
    for trial in rest:
        study.tell(trial.id, train(trial.schedule, trial.fidelity, trial.seed))
    assert study.record_of(first.id).state == State.ended_early
    frame = study.trials().set_index("trial")
    assert frame.loc[first.id, "state"] == "ended_early"
    assert frame.objective.isna().sum() == 1
    assert first.id not in study.final_values()
    evidence, _ = study.learned()
    assert first.id not in evidence.ids
    found = study.recommend()
    assert found.best_observed.value > 1.5
    assert found.notes[0].startswith("1 of 6 trials ended before their last token")


def test_a_run_rounded_down_to_whole_steps_is_whole(make):
    study = make()
    trial = study.ask(1)[0]
    study.tell(trial.id, {"loss": 2.0}, tokens=int(0.99 * trial.fidelity.tokens))
    assert study.record_of(trial.id).state == State.finished


def test_runs_that_all_end_early_stop_after_a_few_with_their_reason(make):
    study = make()
    whole = study.fidelity.tokens

    def stops_halfway(_schedule, fidelity, _seed):
        return {"tokens": fidelity.tokens // 2, "loss": 2.0, "other": 1.0}

    with pytest.raises(StudyError, match=f"the first 3 trials, r00-t00 .* before their {whole:,}"):
        study.optimize(stops_halfway)
    ended = [r for r in study.records() if r.state == State.ended_early]
    assert len(ended) == 3


def test_runs_that_end_early_between_whole_ones_do_not_stop_the_study(make, train):
    study = make()
    calls = iter(range(100))

    def every_other(schedule, fidelity, seed):
        share = 2 if next(calls) % 2 else 1
        return {"tokens": fidelity.tokens // share, **train(schedule, fidelity, seed)}

    found = study.optimize(every_other)
    assert any("ended before their last token" in note for note in found.notes)
    assert study.stop_reason == "the budget of 10 trials is spent"
