"""The verbs about a recommended schedule, on a study whose truth is known."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from mixopt.cli import main
from mixopt.space import Schedule, geometry_of
from mixopt.study import Study
from mixopt.tune.job import Job
from mixopt.tune.session import ray_session
from mixopt.tune.study_file import StudyFile

EXAMPLES = Path(__file__).parents[2] / "examples"

STUDY = """name: known
space:
  domains:
    web: {tokens: 900}
    code: {tokens: 300}
    math: {tokens: 100}
  phases:
    - name: base
      fixed: {web: 0.7, code: 0.2, math: 0.1}
    - name: ending
      fraction: [0, 0.1, 0.2, 0.3]
  baseline: {web: 0.7, code: 0.2, math: 0.1}
objective:
  weights: {talk: 0.5, reason: 0.5}
fidelity: {parameters: 1000, tokens: 1000}
trainer:
  kind: callable
  target: tests.tune.test_analysis_jobs:train
budget: {trials: 12}
initial: 12
"""


def train(schedule, fidelity, seed):  # noqa: ARG001
    """Late math is worth three times early math; leaving web costs talk."""
    shift = (seed % 89) / 890
    exposure, late = schedule.exposure(), 0.0
    if len(schedule.phases) > 1:
        late = schedule.upsample_fraction * schedule.ending.get("math", 0.0)
    return {
        "reason": 2 + shift + math.exp(-4 * (exposure.get("math", 0.0) + 2 * late)),
        "talk": 2 + shift + 0.6 * math.exp(-2 * exposure.get("web", 0.0)),
    }


BASE = {"web": 0.7, "code": 0.2, "math": 0.1}
ENDED = Schedule.two_phase(BASE, {"web": 0.3, "code": 0.3, "math": 0.4}, 0.2)


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A study whose recommendation is known; finding it is tested elsewhere."""
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    job = Job.open(path, tmp_path / "run")
    job.prepare(lambda _text: None)
    assert job.study.name == "known"
    points = [SimpleNamespace(upsample_fraction=f, schedule=_ending(f)) for f in (0, 0.1, 0.2)]
    found = SimpleNamespace(schedule=ENDED, trade_off=points)
    monkeypatch.setattr(Study, "recommend", lambda _self: found)
    return job


def _ending(fraction):
    return Schedule.two_phase(BASE, ENDED.ending, fraction)


def call(*words):
    with pytest.raises(SystemExit) as end:
        main([str(w) for w in words])
    return end.value.code or 0


@pytest.fixture
def ray():
    """One Ray for several verbs: they use the one that runs."""
    with ray_session():
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_attribution_and_controls_from_the_command_line(job, capsys):
    assert call("attribute", job.out, "--domain", "math", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["weight"] == 0.4
    assert found["effects"]["reason"]["high"] < 0 < found["effects"]["talk"]["low"]
    assert found["effects"]["reason"]["seeds"] == 3

    assert call("controls", job.out) == 0
    shown = capsys.readouterr().out
    assert "Order is" in shown
    again = job.existing_study().records()
    assert call("controls", job.out, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["order"]["reason"]["high"] < 0
    assert found["total"]["objective"]["mean"] == pytest.approx(
        found["order"]["objective"]["mean"] + found["exposure"]["objective"]["mean"]
    )
    # The schedule's runs served both verbs, and the last call ran nothing at all.
    comparisons = [r for r in again if r.trial.kind == "comparison"]
    assert len(comparisons) == 3 * 4
    assert len(job.existing_study().records()) == len(again)


def test_the_trade_off_and_phases_from_the_command_line(job, capsys):
    study = job.study
    for trial in study.ask():
        study.tell(trial.id, train(trial.schedule, trial.fidelity, trial.seed))
    asked = ("tradeoff", job.out, "--target", "reason", "--general", "talk", "--slack", "0.1")
    assert call(*asked, "--json") == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert [c["upsample_fraction"] for c in found["levels"]] == [0.0, 0.1, 0.2, 0.3]
    # Late math helps reasoning, and the guardrail on talk holds the ending back.
    assert found["chosen"]["upsample_fraction"] > 0
    assert found["chosen"]["target"]["high"] < 0
    assert found["chosen"]["general"]["mean"] <= 0.1
    page = (job.out / "tradeoff.html").read_text()
    assert "Pareto choices" in page
    assert "src=" not in page[: page.index("<script")]
    assert call(*asked) == 0
    assert "Trade-off" in capsys.readouterr().out
    assert call("phases", job.out, "--most", "2", "--json") == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    assert [c["phases"] for c in counts] == [1, 2]
    assert counts[1]["predicted"] <= counts[0]["predicted"] + 1e-9
    assert call("phases", job.out, "--most", "1") == 0
    assert "More than 1 do not pay" in " ".join(capsys.readouterr().out.split())


def test_the_critical_share_from_a_study_and_from_a_file(job, tmp_path, capsys):
    study = job.study
    for k, share in enumerate((0.2, 0.4, 0.6, 0.8, 0.9)):
        # Nothing is new to a base that holds all domains; a file says the same in numbers.
        rest = {"web": 0.7 * share, "code": 0.2 * share, "math": 1 - 0.9 * share}
        study.attach(
            Schedule.two_phase(BASE, rest, 0.2), {"reason": 1.0, "talk": 1.0}, trial=f"r{k}"
        )
    assert call("critical", job.out) == 1
    assert "must be measured where the base phase ends, at 800 tokens" in capsys.readouterr().err
    path = tmp_path / "runs.csv"
    rises = {s: 3 + math.exp(-3 * s) / 2 - math.exp(-0.9) / 2 for s in (0.1, 0.2, 0.4, 0.7, 0.9)}
    path.write_text("share,loss\n" + "\n".join(f"{s},{v}" for s, v in rises.items()))
    assert call("critical", "--runs", path, "--base-loss", "3", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["critical_share"] == pytest.approx(0.3, abs=0.003)
    assert call("critical", "--runs", path, "--base-loss", "3") == 0
    assert "Critical share 3" in capsys.readouterr().out
    assert call("critical", "--runs", path, "--table", "continual") == 1
    assert "reads one thing" in capsys.readouterr().err


def test_what_cannot_be_attributed_is_said(job, capsys):
    assert call("attribute", job.out, "--domain", "maths") == 1
    assert "one of the space; got 'maths'" in capsys.readouterr().err
    assert call("controls", job.out, "--fraction", "0.25") == 1
    said = capsys.readouterr().err
    assert "must be one that the space allows; got 0.25" in said
    assert "it allows 0, 0.1, 0.2" in said
    assert call("controls", job.out, "--fraction", "0") == 1
    assert "single mixture from start to end" in capsys.readouterr().err
    assert call("rates", job.out) == 1
    assert "peak learning rate must be known" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["domain_upsampling", "continual_pretraining", "rewarm"])
def test_the_examples_studies_are_sound(name):
    file = StudyFile.from_yaml(EXAMPLES / name / "study.yaml")
    assert geometry_of(file.space).fraction_choices
    assert geometry_of(file.space).broken(file.space.baseline_schedule) == []
    # Endings branch off a checkpoint, or are measured where the base ends.
    settings = file.trainer.settings
    for choice in geometry_of(file.space).fraction_choices:
        base = round(1 - choice[-1], 6)
        assert base == 1 or base in {*settings.branch_points, *settings.rungs}
