"""What a study promises to those who run its trials, whether it is open here or served."""

import math
import runpy
from pathlib import Path

import pytest
from served import STUDY, run_all

from mixopt.errors import ConflictError, LeaseError, NotFoundError, StudyError
from mixopt.service.client import Service
from mixopt.service.served_file import make_study
from mixopt.space import Observation
from mixopt.study import State, Storage
from mixopt.tune.study_file import StudyFile

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.py"
FILE = StudyFile.model_validate({**STUDY, "trainer": {"kind": "external"}})


@pytest.fixture(params=["local", "served"])
def open_study(request, lasting, serve):
    """Open the same study again and again, as different users of it."""
    if request.param == "served":
        http = serve(lasting)
        yield lambda **changes: Service(http).create({**STUDY, **changes})
        return
    stores = []

    def local(**changes):
        stores.append(Storage(lasting))
        return make_study(FILE.model_copy(update=changes), stores[-1])

    yield local
    for store in stores:
        store.close()


@pytest.fixture
def study(open_study):
    return open_study()


def test_ask_tell_and_recommend(study):
    run_all(study)
    assert study.stop_reason == "the budget of 10 trials is spent"
    assert [r.state for r in study.records()] == [State.finished] * 10
    assert study.ask() == []
    found = study.recommend()
    assert found.predicted.mean < found.baseline.mean
    assert found.schedule.base["web"] == pytest.approx(0.6, abs=0.2)


def test_two_that_ask_get_different_trials(open_study):
    one, two = open_study(), open_study()
    first, second = one.ask(2, worker="one:1:1"), two.ask(4, worker="two:1:1")
    assert [t.id for t in [*first, *second]] == [f"r00-t{i:02d}" for i in range(6)]
    assert one.ask(1, worker="one:1:1") == []


def test_what_an_object_holds_it_is_given_again(study):
    first = study.ask(2)
    assert study.ask()[:2] == first


def test_a_lease_is_needed_prolonged_and_given_back(open_study):
    one, two = open_study(), open_study()
    (trial,) = one.ask(1, worker="one:1:1", lease_seconds=60)
    before = one.record_of(trial.id).expires
    one.heartbeat(trial.id, 600)
    assert one.record_of(trial.id).expires > before + 500
    with pytest.raises(StudyError, match="this process holds no lease of trial 'r00-t00'"):
        two.heartbeat(trial.id)
    with pytest.raises(LeaseError, match="and this process holds no lease of it"):
        two.tell(trial.id, {"loss": 2.0})
    assert one.release(trial.id)
    assert not one.release(trial.id)
    assert two.ask(1) == [trial]


def test_a_lease_that_is_over_counts_no_more(open_study):
    one, two = open_study(), open_study()
    (trial,) = one.ask(1, worker="one:1:1", lease_seconds=1e-6)
    assert two.ask(1) == [trial]
    with pytest.raises(LeaseError, match="lease of trial 'r00-t00' is not valid any more"):
        one.tell(trial.id, {"loss": 2.0})
    two.tell(trial.id, {"loss": 2.0})


def test_telling_twice_is_harmless_and_conflicts_are_refused(study):
    (trial,) = study.ask(1)
    assert study.tell(trial.id, {"loss": 2.5}) == State.finished
    assert study.tell(trial.id, {"loss": 2.5}) == State.finished
    with pytest.raises(ConflictError, match=r"was told loss = 2.6 .* stored is 2.5"):
        study.tell(trial.id, {"loss": 2.6})


def test_rungs_are_recorded_and_the_last_one_counts(study):
    (trial,) = study.ask(1)
    whole = trial.fidelity.tokens
    rungs = [
        Observation(trial=trial.id, tokens=t, metric="loss", value=v)
        for t, v in ((100, 4.0), (whole, 3.0))
    ]
    study.record(trial.id, rungs[:1])
    assert study.record_of(trial.id).state == State.running
    study.record(trial.id, rungs)
    study.finish(trial.id)
    assert study.record_of(trial.id).state == State.finished


def test_a_run_that_ends_before_its_tokens_has_ended_early(study):
    (trial,) = study.ask(1)
    study.tell(trial.id, {"loss": 3.0}, 1000)
    assert study.record_of(trial.id).state == State.ended_early


def test_a_failure_keeps_its_reason(study):
    (trial,) = study.ask(1)
    study.fail(trial.id, "the loss diverged")
    assert study.record_of(trial.id).reason == "the loss diverged"
    with pytest.raises(ConflictError, match="stored as failed"):
        study.tell(trial.id, {"loss": 2.0})


def test_mistakes_are_named(study):
    (trial,) = study.ask(1)
    with pytest.raises(StudyError, match=r"needs the metrics \['loss'\].*it has \['other'\]"):
        study.tell(trial.id, {"other": 1.0})
    with pytest.raises(StudyError, match=r"'loss' of trial 'r00-t00' must be finite; got nan"):
        study.tell(trial.id, {"loss": math.nan})
    alien = [Observation(trial="r00-t01", tokens=1, metric="loss", value=1.0)]
    with pytest.raises(StudyError, match="'r00-t00' was told observations of trial 'r00-t01'"):
        study.tell(trial.id, alien)
    with pytest.raises(NotFoundError, match="no trial 'r09-t00'"):
        study.tell("r09-t00", {"loss": 1.0})
    with pytest.raises(StudyError, match="a whole number of trials, at least one; got n = 0"):
        study.ask(0)
    with pytest.raises(StudyError, match="at least two finished"):
        study.recommend()


def test_another_configuration_is_refused_by_name(open_study):
    open_study()
    with pytest.raises(ConflictError, match="seed was 0, now 3"):
        open_study(seed=3)


def test_the_quickstart_through_a_service_ends_as_it_does_here(http, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["quickstart", str(tmp_path)])
    here = runpy.run_path(QUICKSTART)
    study, config = here["study"], here["study"].config
    made = {
        "name": study.name,
        "space": config.space.model_dump(mode="json", exclude_none=True),
        "objective": {"weights": dict(here["objective"].weights)},
        "fidelity": config.fidelity.model_dump(),
        "budget": {"trials": study.budget.trials},
    }
    served = Service(http).create(made)
    run_all(served, here["train"])
    search = [r.trial for r in study.records() if r.search]
    assert [r.trial for r in served.records()] == search
    assert served.recommend() == study.recommend()
    assert "plotly" in (tmp_path / "effects.html").read_text()
