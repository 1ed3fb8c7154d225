"""The critical share from a study's runs and from a file, where the truth is known."""

import numpy as np
import pytest

from mixopt.analysis.critical_share import continual_runs, critical_of, read_runs, with_old_share
from mixopt.errors import StudyError, SurrogateError
from mixopt.space import Fidelity, Kind, Mixture, Observation, Schedule, SearchSpace, Trial
from mixopt.study import Study

OLD, NEW = Mixture({"web": 0.75, "books": 0.25}), Mixture({"code": 1.0})
LINE = Schedule.two_phase(OLD, NEW, 0.4)
TRUTH = 0.3


def rise(share):
    """0 at a share of .3."""
    return np.exp(-3 * share) * 0.5 - np.exp(-3 * TRUTH) * 0.5


@pytest.fixture
def study():
    space = SearchSpace(domains=("web", "books", "code"), baseline="uniform")
    fidelity = Fidelity(parameters=10, tokens=1000)
    return Study("s", space, {"code": 1.0}, storage=None, fidelity=fidelity)


def attach(study, name, share, noise=0.0, rungs=(600, 1000)):
    """A run whose old metrics sit at different levels and whose seed shifts both rungs."""
    trial = Trial(
        id=name,
        kind=Kind.attached,
        schedule=with_old_share(LINE, share, OLD, NEW),
        fidelity=study.fidelity,
    )
    shift = len(name) / 7
    rows = []
    for tokens in rungs:
        gap = rise(share) + noise if tokens == 1000 else 0.0
        for metric, level in (("web", 3.0), ("books", 4.0), ("code", 2.0)):
            value = level + shift + gap
            rows.append(Observation(trial=name, tokens=tokens, metric=metric, value=value))
    study.store.attach(study.id, [(trial, rows)])


def test_a_share_of_old_data_keeps_the_proportions_within_old_and_new():
    mixed = with_old_share(LINE, 0.4, OLD, NEW).ending
    assert mixed == pytest.approx({"web": 0.3, "books": 0.1, "code": 0.6})
    assert with_old_share(LINE, 0.4, OLD, NEW).base == OLD
    with pytest.raises(StudyError, match=r"between 0 and 1; got 1\.2"):
        with_old_share(LINE, 1.2, OLD, NEW)


def test_the_critical_share_of_a_study_is_recovered(study):
    rng = np.random.default_rng(0)
    for k in range(3):
        for share in (0.1, 0.25, 0.5, 0.8):
            attach(study, f"r{share}-{k}", share, noise=0.005 * rng.standard_normal())
    runs = continual_runs(study, {"web": 0.5, "books": 0.5})
    assert len(runs.ids) == 12
    found = critical_of(runs.shares, runs.rises)
    assert found.low < TRUTH < found.high
    assert found.high - found.low < 0.15
    assert found.critical_share == pytest.approx(TRUTH, abs=0.05)
    assert 0.002 < found.noise_sd < 0.01
    # The law is surer than a run, and no surer than twelve runs of one share would be.
    assert 1.5 * found.noise_sd / np.sqrt(12) < found.band < 1.96 * found.noise_sd


def test_only_the_runs_asked_for_are_used(study):
    for share in (0.1, 0.25, 0.5, 0.8):
        attach(study, f"r{share}", share)
    runs = continual_runs(study, {"web": 1.0}, ["r0.1", "r0.5"])
    assert runs.shares == pytest.approx([0.1, 0.5])
    assert runs.rises == pytest.approx([rise(0.1), rise(0.5)])


def test_the_base_must_have_been_measured(study):
    attach(study, "r", 0.3, rungs=(500, 1000))
    with pytest.raises(StudyError, match="at 600 tokens; trial r was measured at 500, 1,000") as e:
        continual_runs(study, {"web": 1.0})
    assert "add the rung 0.6" in e.value.hint


def test_a_shorter_horizon_reads_an_earlier_rung(study):
    for share in (0.1, 0.5):
        attach(study, f"r{share}", share, rungs=(600, 800, 1000))
    early = continual_runs(study, {"web": 1.0}, tokens=800, undecayed=True)
    assert early.rises == pytest.approx([0, 0])
    assert continual_runs(study, {"web": 1.0}).rises == pytest.approx([rise(0.1), rise(0.5)])
    with pytest.raises(StudyError, match="measured at the horizon, at 900 tokens"):
        continual_runs(study, {"web": 1.0}, tokens=900, undecayed=True)


def test_a_metric_that_was_not_measured(study):
    attach(study, "r", 0.3)
    with pytest.raises(StudyError, match=r"did not measure \['law'\] at 1,000 tokens"):
        continual_runs(study, {"law": 1.0})


def test_runs_come_from_a_file_with_one_base_or_one_each(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("share,loss\n0.1,3.2\n0.5,2.9\n")
    shares, rises = read_runs(path, 3.0)
    assert shares.tolist() == [0.1, 0.5]
    assert rises == pytest.approx([0.2, -0.1])
    path.write_text("share,loss,base\n0.1,3.2,3.1\n0.5,2.9,2.8\n")
    assert read_runs(path)[1] == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("share,value\n0.1,3\n", "must have the columns share and loss; it has"),
        ("", "must have a key column"),
        ("share,loss\n0.1,3\n", "no column base, and no base loss was given"),
        ("share,loss,base\n0.1,x,3\n", "loss must be a finite number"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, text, message):
    path = tmp_path / "runs.csv"
    path.write_text(text)
    with pytest.raises(StudyError, match=message):
        read_runs(path)


def test_three_runs_leave_nothing_to_tell_the_noise_from():
    with pytest.raises(SurrogateError, match="noise cannot be told from the law"):
        critical_of(np.array([0.1, 0.3, 0.6]), np.array([0.2, 0.05, -0.1]))


FALLING = {"warmup": 0.05, "decay": 0.95, "shape": "cosine", "final": 0.1}


@pytest.mark.parametrize(
    ("context", "words"),
    [
        (None, "neither the schedule nor the study names a rule"),
        ({"kind": "callable"}, "neither the schedule nor the study names a rule"),
        (FALLING, "still at 19% of its peak, where it ends at 10%"),
        ({"decay": 0.0}, ""),
    ],
)
def test_an_earlier_rung_is_not_read_before_the_rate_has_come_down(context, words):
    space = SearchSpace(domains=("web", "books", "code"), baseline="uniform")
    fidelity = Fidelity(parameters=10, tokens=1000)
    trainer = context if context is None or "kind" in context else None
    trainer = trainer or (context and {"kind": "proxy", "settings": {"schedule": context}})
    study = Study("s", space, {"code": 1.0}, storage=None, fidelity=fidelity,
                  context={"trainer": trainer} if trainer else None)  # fmt: skip
    attach(study, "r", 0.25, rungs=(600, 800, 1000))
    if not words:
        assert continual_runs(study, {"web": 1.0}, tokens=800).shares == pytest.approx([0.25])
        return
    with pytest.raises(StudyError, match=words) as caught:
        continual_runs(study, {"web": 1.0}, tokens=800)
    assert "--undecayed" in caught.value.hint
    assert len(continual_runs(study, {"web": 1.0}, tokens=800, undecayed=True).ids) == 1
    assert len(continual_runs(study, {"web": 1.0}, tokens=1000).ids) == 1
