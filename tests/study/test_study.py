import math
import pickle

import numpy as np
import pytest

from mixopt.errors import SpaceError, StudyError, TrialError
from mixopt.space import Observation, PhaseSpace, SearchSpace, Split, geometry_of
from mixopt.study import State, Study, StudySettings, TrialBudget
from mixopt.study.config import SettingsGiven
from mixopt.study.storage.workers import this_host

#: A process of this host that has ended: no process has this number.
ENDED = f"{this_host()}:999999999:1"


def run_round(study, train):
    for trial in study.ask():
        study.tell(trial.id, train(trial.schedule, trial.fidelity, trial.seed))


def test_a_first_result_takes_few_lines(train):
    space = SearchSpace(domains=["web", "code", "books"], baseline="uniform")
    study = Study("first", space, {"loss": 1.0}, storage=None, budget=TrialBudget(trials=12))
    recommendation = study.optimize(train)
    weights = recommendation.schedule.base.to_array(space.names)
    assert np.abs(weights - [0.6, 0.3, 0.1]).max() < 0.15
    assert recommendation.best_observed.value < 2.1


def test_the_baseline_is_the_first_trial(make, space):
    study = make()
    first = study.ask()[0]
    assert first.id == "r00-t00"
    assert first.schedule == space.baseline_schedule


def test_open_trials_come_back_when_their_process_has_ended(make, train):
    study = make()
    asked = study.ask(worker=ENDED)
    assert [t.id for t in asked] == [f"r00-t{i:02d}" for i in range(6)]
    study.tell("r00-t00", train(asked[0].schedule, asked[0].fidelity, asked[0].seed))
    again = make()
    assert again.ask() == asked[1:]
    # What the ended process may still say does not count.
    with pytest.raises(StudyError, match=r"lease of trial 'r00-t01' is not valid any more"):
        study.tell("r00-t01", {"loss": 1.0})


def test_two_that_ask_get_different_trials(make):
    one, two = make(), make()
    first = one.ask(2)
    second = two.ask()
    assert [t.id for t in first] == ["r00-t00", "r00-t01"]
    assert [t.id for t in second] == [f"r00-t{i:02d}" for i in range(2, 6)]
    assert one.ask(1) == two.ask(1) == []
    assert [r.trial.id for r in one.waiting_for()] == [t.id for t in second]
    # What an object holds it is given again, for a notebook's cell that is run twice.
    assert one.ask() == first
    assert one.release("r00-t01")
    assert [t.id for t in two.ask(1)] == ["r00-t01"]


def test_a_lease_is_prolonged_by_its_holder_alone(make):
    study = make()
    (trial,) = study.ask(1, lease_seconds=60)
    before = study.record_of(trial.id).expires
    study.heartbeat(trial.id, 600)
    assert study.record_of(trial.id).expires > before + 500
    with pytest.raises(StudyError, match="this process holds no lease of trial 'r00-t01'"):
        study.heartbeat("r00-t01")


def test_nothing_is_handed_out_twice_by_one_object(make):
    study = make()
    assert len(study.ask(6)) == 6
    assert study.ask(1) == []


def test_ask_and_tell_replay_to_the_same_proposals(make, train, tmp_path):
    one, two = (make(storage=tmp_path / f"{name}.db") for name in "ab")
    run_round(one, train)
    # The order in which results arrive must not matter, nor a restart between them.
    for trial in reversed(two.ask()):
        two.tell(trial.id, train(trial.schedule, trial.fidelity, trial.seed))
    again = make(storage=tmp_path / "b.db")
    assert one.ask() == again.ask()
    assert one.ask()[0].kind == "proposed"


def test_trials_share_three_seeds_that_derive_from_the_study_seed(make, tmp_path):
    seeds = [t.seed for t in make().ask()]
    other = [t.seed for t in make(seed=1, storage=tmp_path / "other.db").ask()]
    assert len(set(seeds)) == 3
    assert not set(seeds) & set(other)


def test_trials_from_one_trunk_share_their_seed(make):
    space = SearchSpace(
        domains=("web", "code"),
        baseline="uniform",
        phases=(
            {"name": "base", "fixed": {"web": 0.7, "code": 0.3}},
            {"name": "ending", "fraction": [0.1, 0.2]},
        ),
    )
    trials = make(space=space).ask()
    branching = [t for t in trials if len(t.schedule.phases) == 2]
    assert len(branching) > 1
    assert 1 < len({t.seed for t in branching}) <= 3


def test_a_run_that_stays_on_the_trunk_shares_its_seed(make):
    base = {"web": 0.7, "code": 0.3}
    space = SearchSpace(
        domains=("web", "code"),
        baseline=base,
        phases=(
            {"name": "base", "fixed": base},
            {"name": "ending", "fraction": [0, 0.1, 0.2]},
        ),
    )
    trials = make(space=space).ask()
    assert {len(t.schedule.phases) for t in trials} == {1, 2}
    static = {t.seed for t in trials if len(t.schedule.phases) == 1}
    assert len(static) == 1
    assert static < {t.seed for t in trials if len(t.schedule.phases) == 2}


def test_the_budget_cuts_the_last_round_and_stops(make, train):
    study = make(budget=TrialBudget(trials=8))
    run_round(study, train)
    assert not study.should_stop() or "no longer pay" in study.stop_reason
    assert len(study.ask()) == 2
    run_round(study, train)
    assert study.should_stop()
    assert study.stop_reason == "the budget of 8 trials is spent"
    assert study.ask() == []
    assert make(budget=TrialBudget(trials=8)).stop_reason == study.stop_reason


def test_the_budget_is_a_total_that_may_be_raised(make, train):
    study = make(budget=TrialBudget(trials=6))
    run_round(study, train)
    assert study.should_stop()
    assert len(make(budget=TrialBudget(trials=9)).ask()) == 3


def test_telling_twice_is_harmless_and_conflicts_are_refused(make):
    study = make()
    study.ask()
    study.tell("r00-t00", {"loss": 2.5})
    study.tell("r00-t00", {"loss": 2.5})
    with pytest.raises(StudyError, match=r"'r00-t00' was told loss = 2.6 .* stored is 2.5"):
        study.tell("r00-t00", {"loss": 2.6})
    with pytest.raises(StudyError, match="it is finished without it"):
        study.tell("r00-t00", {"loss": 2.5, "late": 1.0})
    assert study.final_values() == {"r00-t00": {"loss": 2.5}}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(make, value):
    study = make()
    study.ask()
    with pytest.raises(StudyError, match=r"'loss' of trial 'r00-t00' must be finite.*\nhint.*fail"):
        study.tell("r00-t00", {"loss": value})
    assert study.records()[0].open


def test_missing_metrics_and_unknown_trials_are_named(make):
    study = make()
    study.ask()
    with pytest.raises(StudyError, match=r"needs the metrics \['loss'\].*it has \['other'\]"):
        study.tell("r00-t00", {"other": 1.0})
    with pytest.raises(StudyError, match="no trial 'r09-t00'"):
        study.tell("r09-t00", {"loss": 1.0})
    alien = [Observation(trial="r00-t01", tokens=1, metric="loss", value=1.0)]
    with pytest.raises(StudyError, match="'r00-t00' was told observations of trial 'r00-t01'"):
        study.tell("r00-t00", alien)


def test_rungs_are_kept_and_the_last_one_counts(make):
    study = make()
    trial = study.ask()[0]
    whole = trial.fidelity.tokens
    rungs = [
        Observation(trial=trial.id, tokens=t, metric="loss", value=v)
        for t, v in ((100, 5.0), (whole, 3.0), (200, 4.0))
    ]
    study.record(trial.id, rungs[:1])
    assert study.records()[0].open
    study.tell(trial.id, rungs)
    assert study.final_values() == {trial.id: {"loss": 3.0}}
    assert list(study.observations().tokens) == [100, 200, whole]


def test_failed_trials_keep_their_reason_and_are_not_run_again(make, train):
    study = make()
    first, *rest = study.ask()
    study.fail(first.id, "the loss diverged")
    for trial in rest:
        study.tell(trial.id, train(trial.schedule, trial.fidelity, trial.seed))
    frame = make().trials().set_index("trial")
    assert frame.loc[first.id, "reason"] == "the loss diverged"
    assert frame.loc[first.id, "state"] == "failed"
    assert all(t.round == 1 for t in make().ask())
    with pytest.raises(StudyError, match="stored as failed"):
        study.tell(first.id, {"loss": 2.0})


def test_requeue_keeps_weights_and_seed(make):
    study = make()
    first = study.ask()[0]
    study.fail(first.id, "disk full")
    assert study.requeue() == [first.id]
    assert study.ask(1) == [first]


def test_a_crash_is_retried_once(make):
    study = make(retries=1)
    first = study.ask()[0]
    study.crashed(first.id, "killed")
    assert study.record_of(first.id).state == State.waiting
    study.crashed(first.id, "killed again")
    record = study.record_of(first.id)
    assert record.state == State.failed
    assert record.reason == "its worker died 2 times; the last time: killed again"


def test_a_study_of_failures_says_why(make):
    study = make()

    def broken(*_):
        raise TrialError("no GPU left", "free one")

    with pytest.raises(StudyError, match=r"the first 3 trials failed and none .*r00-t00: no GPU"):
        study.optimize(broken)
    # The same call again must not run them again, nor go on as if nothing had happened.
    with pytest.raises(StudyError, match="the first 3 trials failed"):
        make().optimize(broken)
    assert [r.attempts for r in study.records()] == [1, 1, 1, 0, 0, 0]


def test_what_was_asked_for_and_never_told_is_run_by_optimize(make, train):
    study = make()
    held = [t.id for t in study.ask(3)]
    seen = []
    study.optimize(train, progress=lambda record, _: seen.append(record.trial.id))
    assert seen[:3] == held
    assert len(seen) == len(set(seen)) == 10


def test_type_checkers_know_every_setting_of_a_study():
    assert SettingsGiven.__annotations__.keys() == StudySettings.model_fields.keys()


def test_learning_needs_finished_trials(make):
    study = make()
    study.ask()
    with pytest.raises(StudyError, match="at least two finished ones; the study has 0"):
        study.recommend()


def test_attached_runs_count_as_evidence(make, space):
    study = make(initial=4)
    rng = np.random.default_rng(0)
    for weights in rng.dirichlet(np.ones(3), size=8):
        mixture = dict(zip(space.names, weights, strict=True))
        study.attach(mixture, {"loss": 2 + float(((weights - [0.6, 0.3, 0.1]) ** 2).sum())})
    assert study.ask()[0].kind == "proposed"
    assert study.recommend().predicted.mean < 2.2


def test_attaching_by_id_is_idempotent(make):
    study = make()
    for _ in range(2):
        study.attach({"web": 1.0}, {"loss": 2.0}, trial="mine")
    assert len(study.records()) == 1
    with pytest.raises(StudyError, match=r"'mine' was told loss = 2.1 .* stored is 2.0"):
        study.attach({"web": 1.0}, {"loss": 2.1}, trial="mine")
    with pytest.raises(SpaceError, match="unknown domains"):
        study.attach({"blogs": 1.0}, {"loss": 2.0})


def test_another_configuration_is_refused_by_name(make, space):
    make()
    with pytest.raises(StudyError, match="seed was 0, now 3"):
        make(seed=3)
    with pytest.raises(StudyError, match=r"objective.weights.loss was 1.0, now 0.5"):
        make(objective={"loss": 0.5, "other": 0.5})
    wider = space.model_copy(update={"max_epochs": None, "name": "wider"})
    with pytest.raises(StudyError, match=r'space.name was "space", now "wider"') as caught:
        make(space=wider)
    assert "another name or storage" in caught.value.hint
    make(context=None, batch=5)
    with pytest.raises(StudyError, match=r"context\.corpus was null"):
        make(context={"corpus": "abc"})


def test_how_a_trainer_is_run_may_change_and_what_it_trains_may_not(make):
    trainer = {"kind": "command", "command": "old/train {schedule}", "timeout": 60.0}
    make(context={"trainer": trainer})
    make(context={"trainer": trainer | {"command": "new/train {schedule}", "timeout": None}})
    with pytest.raises(StudyError, match=r'context.trainer.kind was "command", now "proxy"'):
        make(context={"trainer": {"kind": "proxy"}})


def test_a_refusal_writes_nothing(make, tmp_path):
    study = make(batch=5)
    before = study.settings
    with pytest.raises(StudyError, match="seed was 0, now 3"):
        make(batch=7, seed=3)
    assert Study.open(tmp_path / "study.db").settings == before
    with pytest.raises(StudyError):
        Study.open(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_a_study_open_for_reading_alone_is_read(make, tmp_path):
    make().ask()
    study = Study.open(tmp_path / "study.db", read_only=True)
    assert len(study.records()) == 6
    with pytest.raises(StudyError, match="refused"):
        study.fail("r00-t00", "not mine to say")


def test_open_reads_the_stored_configuration(make, tmp_path):
    study = make(batch=5, seed=4)
    found = Study.open(tmp_path / "study.db")
    assert (found.config, found.settings, found.id) == (study.config, study.settings, study.id)
    with pytest.raises(StudyError, match=r"must hold the study 'none'; it holds \['demo'\]"):
        Study.open(tmp_path / "study.db", "none")


def test_a_pickled_study_is_the_same_study(make):
    study = make()
    study.ask()
    again = pickle.loads(pickle.dumps(study))
    assert again.records() == study.records()
    with pytest.raises(StudyError, match="is in memory and cannot be sent"):
        pickle.dumps(make(storage=None))


def test_confirmation_uses_common_fresh_seeds_and_its_own_split(make, train):
    study = make()
    plain = study.optimize(train)
    recommendation = make().optimize(train, confirm=True)
    # What was measured on the confirmation split must not change what is recommended.
    assert recommendation.model_copy(update={"confirmations": ()}) == plain
    searched = {r.trial.seed for r in study.records() if r.search}
    runs = [r.trial for r in study.records() if r.trial.kind == "confirmation"]
    assert {t.split for t in runs} == {Split.confirmation}
    by_label = {
        label: [t.seed for t in runs if t.label == label] for label in {t.label for t in runs}
    }
    # Uniform is the baseline here and the recommendation is static: they are not run twice.
    assert set(by_label) == {"recommendation", "baseline"}
    assert len({tuple(seeds) for seeds in by_label.values()}) == 1
    assert len(by_label["baseline"]) == 3
    assert not searched & set(by_label["baseline"])
    assert [c.label for c in recommendation.confirmations] == ["recommendation", "baseline"]
    frame = study.confirmations(recommendation).set_index("label")
    gap = frame.loc["recommendation"]
    assert gap.difference < -2 * gap.difference_se
    # Noise with the same seed is the same noise: it cancels in the difference alone.
    assert gap.difference_se < 0.01 * (gap.high - gap.low)
    assert set(study.observations().split) == {"validation", "confirmation"}
    assert study.add_trials(study.confirmation_trials(recommendation)) == []


@pytest.mark.parametrize("phases", [1, 2])
def test_a_round_may_repeat_the_leader_with_a_seed_of_its_own(make, train, space, phases):
    ending = [PhaseSpace(name="ending", fraction=(0.0, 0.2))]
    wider = SearchSpace(
        domains=space.domains,
        baseline="uniform",
        phases=(PhaseSpace(), *ending[: phases - 1]),
    )
    study = make(space=wider, replicates=1, initial=6, batch=2)
    for trial in study.ask():
        study.tell(trial.id, train(trial.schedule, None, trial.seed))
    again, fresh = study.ask()
    seen = [r.trial for r in study.records() if r.trial.round == 0]
    rows = [geometry_of(wider).encode(t.schedule) for t in seen]
    same = [np.allclose(row, geometry_of(wider).encode(again.schedule), atol=1e-6) for row in rows]
    assert any(same)
    assert again.seed not in {t.seed for t, alike in zip(seen, same, strict=True) if alike}
    assert not any(
        np.allclose(row, geometry_of(wider).encode(fresh.schedule), atol=1e-6) for row in rows
    )
