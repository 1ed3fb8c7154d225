"""The verbs, run as a user runs them."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mixopt.cli import main, waiting
from mixopt.steps import LOG, step

STUDY = """name: tiny
space:
  domains:
    web: {tokens: 900}
    code: {tokens: 300}
  phases:
    - name: base
    - name: ending
      fraction: [0, 0.2]
objective:
  weights: {web: 0.5, code: 0.5}
fidelity: {parameters: 1000, tokens: 1000}
trainer:
  kind: command
  command: %s {schedule} {out}
budget: {trials: 10}
initial: 6
batch: 4
confirm_seeds: 2
"""
TRAINER = """
import json, math, random, sys

given = json.load(open(sys.argv[1]))
phases = given["schedule"]["phases"]
code = sum(p["fraction"] * p["mixture"].get("code", 0) for p in phases)
noise = random.Random(f"{given['trial']} {code}").gauss(0, 1e-3)
with open(sys.argv[2], "w") as out:
    values = {"web": 2 + math.exp(code - 1) + noise, "code": 1 + math.exp(-4 * code) + noise}
    print(json.dumps({"tokens": 1000, **values}), file=out)
"""


@pytest.fixture
def study(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(TRAINER)
    path = tmp_path / "study.yaml"
    path.write_text(STUDY % f"{sys.executable} {script}")
    return path


def call(*words):
    with pytest.raises(SystemExit) as end:
        main([str(w) for w in words])
    return end.value.code or 0


def test_a_study_runs_from_file_to_files_and_goes_on(study, tmp_path, capsys):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "mixopt", "run", str(study), "--out", str(out), "--json"]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = json.loads(first.stdout)
    assert answer["predicted"]["mean"] < answer["baseline"]["mean"]
    assert {c["label"] for c in answer["confirmations"]} >= {"recommendation", "baseline"}
    for name in ("schedule.json", "report.html", "study.yaml", "study.db"):
        assert (out / name).stat().st_size > 0, name
    assert answer["answer"]["gain"]["source"] == "confirmed"
    assert answer["worth"] is None
    assert "rungs" in answer["no_worth"]
    assert "stopped: " in first.stderr
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout) == answer
    assert "r00-t00" not in again.stderr

    assert call("recommend", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["schedule"] == answer["schedule"]
    paths = tmp_path / "paths.yaml"
    paths.write_text("code: /d/code\n")
    assert call("export", out, "--to", "megatron", "--paths", "web=/d/web", "--json") == 1
    assert "needs the path of every domain in use; ['code'] have none" in capsys.readouterr().err
    more = ("--paths", "web=/d/web", "--paths", paths, "--sequence-length", 8, "--batch", 2)
    assert call("export", out, "--to", "megatron", *more, "--json") == 0
    written = json.loads(capsys.readouterr().out)
    assert any("/d/web" in Path(p).read_text() for p in written)
    assert call("report", out) == 0
    assert capsys.readouterr().out.strip().endswith("report.html")
    assert call("recommend", out) == 0
    assert "baseline" in capsys.readouterr().out


def test_a_dry_run_trains_nothing(study, tmp_path, capsys):
    assert call("run", study, "--out", tmp_path / "none", "--dry-run", "--json") == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["trials"] == 10
    assert planned["confirmations"] == 8
    assert planned["tokens"] == 18 * 1000
    assert planned["flops"] == 6 * 1000 * 18 * 1000
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("batch: 4", "bach: 4", "line 18, bach: unknown key 'bach'\nhint: did you mean 'batch'?"),
        (
            "code: 0.5",
            "code: 0.4",
            "line 10, objective: the weights of an objective must sum to 1; they sum to 0.9",
        ),
        ("tokens: 900", "tokens: -1", "line 4, space.domains.web.tokens: must be greater"),
        ("kind: command", "kind: proxy", "line 15, trainer"),
        ("trials: 10", "trial: 10", "unknown key 'trial'"),
    ],
)
def test_a_mistake_in_a_study_is_one_sentence_with_its_place(study, capsys, old, new, text):
    study.write_text(study.read_text().replace(old, new, 1))
    assert call("run", study, "--dry-run") == 1
    error = capsys.readouterr().err
    assert text in error
    assert "Traceback" not in error


def test_a_metric_the_proxy_does_not_measure_is_named(study, capsys):
    text = study.read_text().replace("{web: 0.5, code: 0.5}", "{natural: 0.5, cod: 0.5}")
    start, end = text.index("trainer:"), text.index("budget:")
    domain = "{sources: [{glob: '*.txt'}]}"
    corpus = f"corpus: {{name: c, context: 8, domains: {{web: {domain}, code: {domain}}}}}\n"
    study.write_text(text[:start] + corpus + text[end:])
    assert call("run", study, "--dry-run") == 1
    assert "the objective names the metrics ['cod'], which the proxy" in capsys.readouterr().err


def test_fit_recommends_from_two_tables(tmp_path, capsys):
    rows = [(i, w / 10, 1 - w / 10) for i, w in enumerate(range(11))]
    ratios, metrics = tmp_path / "ratios.csv", tmp_path / "metrics.csv"
    ratios.write_text("run,web,code\n" + "".join(f"{i},{w},{c}\n" for i, w, c in rows))
    values = [(i, 2 + (w - 0.6) ** 2, 3 - w) for i, w, _ in rows]
    metrics.write_text("run,x,y\n" + "".join(f"{i},{x},{y}\n" for i, x, y in values))
    assert call("fit", ratios, metrics, "--objective", "x", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    (phase,) = answer["schedule"]["phases"]
    assert phase["mixture"]["web"] == pytest.approx(0.6, abs=0.08)
    wanted = ("--candidates", ratios, "--objective", "x")
    assert call("fit", ratios, metrics, *wanted) == 0
    assert "Predicted objective of the candidates" in capsys.readouterr().out
    assert call("fit", ratios, metrics, *wanted, "--json") == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(map(str, range(11)))
    assert call("fit", ratios, metrics, "--objective", "x", "--target", "1B:100B") == 1
    assert "no column 'parameters'" in capsys.readouterr().err
    assert call("fit", ratios, metrics, "--objective", "z") == 1
    assert "the objective names ['z']" in capsys.readouterr().err


def test_a_space_is_checked_and_an_infeasible_one_explained(tmp_path, capsys):
    assert call("space", "check", "pile-17", "--json") == 0
    assert json.loads(capsys.readouterr().out)["domains"] == 17
    path = tmp_path / "space.yaml"
    path.write_text(
        "domains:\n  a: {tokens: 10}\n  b: {tokens: 20}\n"
        "target: {parameters: 1, tokens: 100}\nmax_epochs: 2\n"
    )
    assert call("space", "check", path) == 1
    assert "clash by 0.4 of weight" in capsys.readouterr().err
    assert call("space", "check", "pil-17") == 1
    assert "did you mean 'pile-17'?" in capsys.readouterr().err


def test_a_reader_that_stops_early_sees_no_traceback():
    command = f"{sys.executable} -m mixopt space check pile-17 | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("name: pile-17")
    assert "Traceback" not in done.stderr


def test_a_corpus_is_built_from_a_spec(tmp_path, capsys):
    for domain in ("a", "b"):
        for i in range(30):
            text = f"{domain} document {i} " + " ".join(f"{domain}{i}word{j}" for j in range(60))
            (tmp_path / f"{domain}{i}.txt").write_text(text)
    spec = tmp_path / "corpus.yaml"
    spec.write_text(
        "name: two\ncontext: 8\ntokenizer: {train: {vocab_size: 300}}\n"
        "split: {validation: 0.2, confirmation: 0.2}\n"
        "domains:\n  a: {sources: [{glob: 'a*.txt'}]}\n  b: {sources: [{glob: 'b*.txt'}]}\n"
    )
    assert call("corpus", "build", spec, "--out", tmp_path / "corpus") == 0
    assert "training tokens" in capsys.readouterr().out
    assert (tmp_path / "corpus" / "corpus.json").is_file()


def test_a_new_study_inherits_the_trials_of_an_old_one(study, tmp_path, capsys):
    from mixopt.tune.job import Job

    old = Job.open(study, tmp_path / "old")
    old.prepare(lambda _: None)
    for i, share in enumerate((0.2, 0.5, 0.8)):
        old.study.attach({"web": share, "code": 1 - share}, {"web": 2.0 + share, "code": 2.0 - i})
    text = study.read_text().replace(
        "web: {tokens: 900}\n", "books: {tokens: 300}\n    a/b: {tokens: 600}\n"
    )
    new = tmp_path / "new.yaml"
    new.write_text(text.replace("name: tiny", "name: split"))
    split = "--split=web=books:0.25,a/b:0.75"
    assert call("inherit", new, "--old", tmp_path / "old", split, "--out", tmp_path / "new") == 0
    assert capsys.readouterr().out == "attached 3 trials\n"
    first = Job.open(tmp_path / "new").existing_study().records()[0].trial
    assert first.schedule.base == {"books": 0.05, "a/b": 0.15000000000000002, "code": 0.8}


def test_checking_a_tree_shows_its_sums(tmp_path, capsys):
    path = tmp_path / "space.yaml"
    path.write_text(
        "domains:\n  web:\n    tied: natural\n    domains: {a: {tokens: 30}, b: {tokens: 10}}\n"
        "  code: {tokens: 60}\n"
    )
    assert call("space", "check", path) == 0
    shown = capsys.readouterr().out
    assert "weights ties leave free: 2" in shown
    rows = [line.split() for line in shown.splitlines() if " % " in line]
    assert rows == [
        ["web", "40", "40.0", "%", "100.0", "%", "natural"],
        ["a", "30", "30.0", "%", "100.0", "%"],
        ["b", "10", "10.0", "%", "100.0", "%"],
        ["code", "60", "60.0", "%", "100.0", "%"],
    ]


def test_another_objective_is_answered_without_training(study, tmp_path, capsys):
    from mixopt.tune.job import Job

    job = Job.open(study, tmp_path / "run")
    job.prepare(lambda _: None)
    for share in (0.05, 0.2, 0.4, 0.6, 0.8, 0.95):
        losses = {"web": 2 - share, "code": 1 + share**2}
        job.study.attach({"web": share, "code": 1 - share}, losses)
    best = {}
    for name in ("web", "code"):
        other = {"web": "code", "code": "web"}[name]
        words = ("--weights", f"{name}=0.9", f"{other}=0.1", "--json")
        assert call("reweigh", tmp_path / "run", *words) == 0
        found = json.loads(capsys.readouterr().out)["schedule"]["phases"]
        best[name] = sum(p["fraction"] * p["mixture"].get("web", 0) for p in found)
    assert best["code"] < best["web"] - 0.2
    assert call("reweigh", tmp_path / "run", "--weights", "web=much") == 1
    assert "the weight of 'web' must be a number; got 'much'" in capsys.readouterr().err


def test_what_lasts_is_named_on_standard_error(monkeypatch):
    said, heard = [], threading.Event()

    def say(text):
        said.append(text)
        heard.set()

    monkeypatch.setattr(waiting, "FIRST", 0.0)
    monkeypatch.setattr(waiting, "say", say)
    with waiting.told(), step("fitting"), step("fitting one metric"):
        assert heard.wait()
    assert said[0].startswith(("fitting one metric (", "fitting (", "loading ("))


def test_the_innermost_step_is_the_one_that_is_named():
    shown = waiting.Waiting()
    assert shown.lasting() == "loading"
    assert shown.lasting() is None
    LOG.addHandler(shown)
    LOG.setLevel("DEBUG")
    try:
        with step("fitting"):
            with step("one metric"):
                assert shown.lasting() == "one metric"
            assert shown.lasting() == "fitting"
        assert shown.lasting() is None
    finally:
        LOG.removeHandler(shown)
        LOG.setLevel("NOTSET")
