import pytest

from mixopt.errors import StudyError
from mixopt.space import Fidelity, Kind, SearchSpace
from mixopt.study import Study, TrialBudget
from mixopt.study.transfer import parse_split


def over(names, tmp_path, name="new", **changes):
    space = SearchSpace(domains=names, baseline="uniform")
    return Study(name, space, {"loss": 1.0}, storage=tmp_path / f"{name}.db", **changes)


@pytest.fixture
def old(make, train):
    study = make(budget=TrialBudget(trials=8), initial=8)
    for trial in study.ask():
        study.tell(trial.id, train(trial.schedule, trial.fidelity, trial.seed))
    return study


def test_a_split_domain_keeps_every_trial_and_the_search_goes_on(old, tmp_path):
    split = {"web": {"web/science": 0.25, "web/news": 0.75}}
    names = ("web/science", "web/news", "code", "books", "math")
    new = over(names, tmp_path, initial=10, budget=TrialBudget(trials=20))
    done = new.inherit(old, split=split)
    assert len(done.attached) == 8
    assert done.left_out == {}
    before, after = old.final_values(), new.final_values()
    for record in old.records():
        name = f"demo-{record.trial.id}"
        one, two = record.trial.schedule.base, new.record_of(name).trial.schedule.base
        assert two["web/news"] == pytest.approx(0.75 * one.get("web", 0.0))
        assert two["math"] == 0
        assert after[name] == before[record.trial.id]
    again = new.inherit(old, split=split)
    assert again == done
    # The attached runs stand for most of the initial design, and the surrogate learns from them.
    asked = new.ask()
    assert len(asked) == 2
    assert {t.kind for t in asked} == {Kind.initial}
    evidence, _ = new.learned()
    assert len(evidence) == 8


def test_trials_of_a_removed_domain_are_left_out_by_name(old, tmp_path):
    new = over(("web", "code"), tmp_path)
    with pytest.raises(StudyError, match=r"no trial of the study 'demo' can be kept: .*used books"):
        new.inherit(_without_unused(old, "books", tmp_path))
    merged = new.inherit(old, split={"books": {"web": 1.0}})
    assert len(merged.attached) == 8


def _without_unused(old, name, tmp_path):
    """A study that holds only the old trials which used a domain."""
    other = Study("demo", old.space, old.objective, storage=tmp_path / "part.db", initial=3)
    for record in old.records():
        if record.trial.schedule.base.get(name, 0.0) > 0:
            other.attach(
                record.trial.schedule, old.final_values()[record.trial.id], trial=record.trial.id
            )
    return other


def test_what_else_differs_is_told(old, tmp_path):
    size = Fidelity(parameters=5, tokens=7)
    sizes = (size, old.fidelity)
    new = over(("web", "code", "books"), tmp_path, fidelities=sizes, context={"corpus": "b"})
    done = new.inherit(old)
    assert any("corpus was null" in d for d in done.differs)
    first = new.record_of(done.attached[0]).trial
    assert first.fidelity == old.fidelity


def test_runs_of_another_size_are_refused_and_nothing_is_written(old, tmp_path):
    new = over(("web", "code", "books"), tmp_path, fidelity=Fidelity(parameters=5, tokens=7))
    with pytest.raises(StudyError, match=r"learns from runs of it alone: 5 .*\nhint.*`fidelities`"):
        new.inherit(old)
    assert new.records() == []


def test_a_refused_transfer_leaves_nothing_behind(tmp_path):
    mixed = over(("web", "code", "books"), tmp_path, name="mixed")
    for trial, metrics in (("one", {"loss": 1.0, "extra": 2.0}), ("two", {"loss": 1.0})):
        mixed.attach({"web": 1.0}, metrics, trial=trial)
    space = SearchSpace(domains=("web", "code", "books"), baseline="uniform")
    new = Study("wants", space, {"extra": 1.0}, storage=tmp_path / "wants.db")
    with pytest.raises(StudyError, match=r"'mixed-two' needs the metrics \['extra'\]"):
        new.inherit(mixed)
    assert new.records() == []


def test_errors_say_what_is_wrong(old, tmp_path):
    with pytest.raises(StudyError, match="cannot inherit from itself; both are 'demo'"):
        old.inherit(Study.open(old.store.url))
    new = over(("web", "code", "books"), tmp_path, name="strict")
    with pytest.raises(StudyError, match=r"a split must lead .* \['zz'\] are neither"):
        new.inherit(old, split={"web": {"zz": 1.0}})
    space = SearchSpace(domains=("web", "code", "books"), baseline="uniform")
    wants = Study("wants", space, {"math": 1.0}, storage=None)
    with pytest.raises(StudyError, match=r"needs the metrics \['math'\]"):
        wants.inherit(old)


def test_splits_are_read_from_the_command_line():
    assert parse_split(["web=a:0.25,b/c:0.75", "old=new"]) == {
        "web": {"a": 0.25, "b/c": 0.75},
        "old": {"new": 1.0},
    }
    for wrong in ("web=a:0.5,b:0.4", "web", "web=a:x"):
        with pytest.raises(StudyError, match="--split takes OLD=NEW:SHARE"):
            parse_split([wrong])
