"""A study file and its folder: what is refused leaves no trace, what is read writes nothing."""

import json
import os
import stat
from pathlib import Path

import pytest

from mixopt.cli import main
from mixopt.errors import StudyError
from mixopt.proxy import architecture, flops
from mixopt.study import Study
from mixopt.tune.job import Job
from mixopt.tune.run_job import inherit_job
from mixopt.tune.study_file import StudyFile

STUDY = """name: small
space:
  domains:
    web: {tokens: 900}
    code: {tokens: 300}
objective:
  weights: {web: 0.5, code: 0.5}
fidelity: {parameters: 1000, tokens: 1000}
trainer:
  kind: command
  command: python /here/train.py --data=/here/tokens {schedule} {out}
  timeout: 60
budget: {trials: 8}
initial: 6
batch: 2
"""


def call(*words):
    with pytest.raises(SystemExit) as end:
        main([str(w) for w in words])
    return end.value.code or 0


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


def tree(folder):
    """Every file below a folder with its bytes; databases by their names alone."""
    files = sorted(p for p in Path(folder).rglob("*") if p.is_file() and ".db-" not in p.name)
    return {str(p): b"" if ".db" in p.name else p.read_bytes() for p in files}


def edited(path, *changes):
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return path


@pytest.fixture
def run(path, tmp_path):
    """The folder of a study with some finished trials."""
    job = Job.open(path, tmp_path / "run")
    study = job.prepare(lambda _: None)
    for i, trial in enumerate(study.ask()):
        study.tell(trial.id, {"web": 2 + 0.01 * (i % 2), "code": 2 - 0.01 * (i % 3)})
    study.store.close()
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (("{web: 0.5, code: 0.5}", "{web: 0.4, code: 0.6}"), "objective.weights.web was 0.5"),
        (("tokens: 900", "tokens: 800"), "tokens was 900, now 800"),
        (("train.py", "train2.py"), "context.trainer.command"),
        (("initial: 6", "initial: 5"), "initial was 6, now 5"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--retry-failed",)])
def test_a_refused_change_leaves_the_run_as_it_was(path, run, capsys, change, what, more):
    job = Job.open(run)
    failed = job.existing_study(write=True).records()[0].trial.id
    before, states = tree(run), [r.state for r in job.existing_study().records()]
    edited(path, change)
    assert call("run", path, "--out", run, *more) == 1
    assert what in capsys.readouterr().err
    assert tree(run) == before
    assert [r.state for r in job.existing_study().records()] == states
    assert call("trials", run, "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["trial"] == failed


def test_what_does_not_change_results_may_change(path, run):
    edited(
        path,
        ("/here/train.py", "/there/bin/train.py"),
        ("/here/tokens", "../tokens"),
        ("timeout: 60", "timeout: 90"),
        ("{trials: 8}", "{trials: 12}"),
        ("batch: 2", "batch: 3\nretries: 4\nmost_failures: 2\nconfirm_seeds: 0"),
    )
    study = Job.open(path, run).prepare(lambda _: None)
    settings = study.settings
    assert (settings.batch, settings.retries, settings.most_failures) == (3, 4, 2)
    assert (settings.confirm_seeds, settings.budget.trials) == (0, 12)
    trainer = Job.open(run).trainer()
    assert trainer.timeout == 90
    assert "/there/bin/train.py" in trainer.command


@pytest.mark.parametrize(
    "words",
    [
        ("recommend",),
        ("report",),
        ("trials",),
        ("tradeoff", "--target", "web", "--general", "code", "--slack", "0.1"),
        ("phases",),
        ("controls",),
    ],
    ids=lambda words: words[0],
)
def test_reading_a_study_that_is_not_there_makes_nothing(path, tmp_path, capsys, words):
    verb, *more = words
    assert call(verb, path, *more, "--out", tmp_path / "nowhere") == 1
    assert "there is no study at" in capsys.readouterr().err
    database = f"sqlite:///{tmp_path / 'else' / 'study.db'}"
    assert call(verb, path, *more, "--out", tmp_path / "nowhere", "--storage", database) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["study.yaml"]


def test_a_run_is_read_from_a_folder_that_takes_no_files(run, tmp_path, capsys):
    before = tree(run)
    for folder in (run, *run.rglob("*")):
        folder.chmod(folder.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    try:
        assert call("recommend", run, "--json") == 0
        assert json.loads(capsys.readouterr().out)["predicted"]["mean"] > 0
        assert call("trials", run) == 0
        assert "r00-t05" in capsys.readouterr().out
        into = tmp_path / "elsewhere"
        assert call("export", run, "--to", "schedule", "--out", into) == 0
        assert call("report", run, "--into", into) == 0
        assert {p.name for p in into.iterdir()} == {
            "schedule.json",
            "schedule_report.json",
            "schedule_report.md",
            "report.html",
        }
        if os.geteuid() != 0:
            capsys.readouterr()
            assert call("report", run) == 1
            assert "name another folder with --into" in capsys.readouterr().err
    finally:
        for folder in (run, *run.rglob("*")):
            folder.chmod(folder.stat().st_mode | stat.S_IWUSR)
    assert tree(run) == before


def test_the_schedule_of_any_trial_is_exported_with_what_it_is(run, tmp_path, capsys):
    trial = Job.open(run).existing_study().records()[3].trial
    assert call("export", run, "--to", "schedule", "--trial", trial.id, "--out", tmp_path) == 0
    written = json.loads((tmp_path / "schedule.json").read_text())
    assert written["phases"][0]["mixture"] == pytest.approx(dict(trial.schedule.base))
    assert written["provenance"]["note"].startswith(f"The schedule of trial {trial.id} (finished")
    assert call("export", run, "--to", "schedule", "--trial", "r99-t00") == 1
    assert "has no trial 'r99-t00'" in capsys.readouterr().err


def test_no_better_than_the_baseline_has_a_code_of_its_own(run, capsys, tmp_path):
    """Losses differ by noise alone here, so nothing can be shown to be better."""
    assert call("recommend", run) == 0
    said = capsys.readouterr().out
    assert call("recommend", run, "--strict") == 3
    captured = capsys.readouterr()
    assert captured.out == said
    assert "not shown to be better than the baseline" in captured.err
    length = ("--sequence-length", 8, "--batch", 2, "--out", tmp_path / "files", "--placeholders")
    for name in ("schedule", "megatron", "llm-foundry", "huggingface"):
        assert call("export", run, "--to", name, *length) == 0
    files = {p.name: p.read_text() for p in (tmp_path / "files").iterdir()}
    note = json.loads(files["schedule.json"])["provenance"]["note"]
    assert "the baseline" in note
    assert len(said.splitlines()[0]) > 20
    assert said.split()[:4] == note.split()[:4]
    for name in ("megatron_phase1_base.sh", "llm-foundry_data.yaml", "huggingface_mixture.py"):
        assert note in files[name]
    assert note in json.loads(files["megatron_report.json"])["notes"]


def test_a_baseline_outside_the_space_is_warned_of_before_any_trial(path, tmp_path, capsys):
    edited(
        path,
        (
            "objective:",
            "  phases:\n    - name: base\n      fixed: {web: 0.2, code: 0.8}\n"
            "    - name: ending\n      fraction: 0.2\n  baseline: {web: 0.9, code: 0.1}\n"
            "objective:",
        ),
    )
    assert call("run", path, "--out", tmp_path / "none", "--dry-run") == 0
    assert "The baseline lies outside of the space" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_an_inheritance_that_keeps_nothing_makes_no_study(run, tmp_path):
    new = tmp_path / "new.yaml"
    new.write_text(STUDY.replace("name: small", "name: new").replace("web", "books"))
    old = Job.open(run).existing_study()
    job = Job.open(new, tmp_path / "new")
    with pytest.raises(StudyError, match="no trial of the study 'small' can be kept"):
        inherit_job(job, old, {}, lambda _: None)
    assert not (tmp_path / "new").exists()


def test_an_unknown_export_is_refused_at_once(path, capsys):
    edited(path, ("budget:", "exports: [schedule, megatrn]\nbudget:"))
    assert call("run", path, "--dry-run") == 1
    error = capsys.readouterr().err
    assert "exports[1]: there is no exporter 'megatrn'" in error
    assert "did you mean 'megatron'?" in error


def test_a_study_begins_with_what_the_team_runs_and_writes_what_it_asks_for(path, tmp_path):
    (path.parent / "blend.txt").write_text("3 /d/web 1 /d/code")
    edited(
        path,
        (
            "objective:",
            "  baseline: {from: megatron, path: blend.txt}\nobjective:",
        ),
        (
            "budget:",
            "exports: [schedule, {to: hf, batch: 2, tokens: 9, paths: {web: /w}}]\nbudget:",
        ),
    )
    file = StudyFile.from_yaml(path)
    assert file.space.baseline == {"web": 0.75, "code": 0.25}
    assert [e.to for e in file.exports] == ["schedule", "huggingface"]
    assert file.exports[1].batch == 2
    again = tmp_path / "again.yaml"
    again.write_text(file.to_yaml())
    assert StudyFile.from_yaml(again) == file


CORPUS = """corpus:
  name: two
  context: 8
  tokenizer: {train: {vocab_size: 300}}
  split: {validation: 0.2, confirmation: 0.2}
  domains:
    web: {sources: [{glob: 'web*.txt'}]}
    code: {sources: [{glob: 'code*.txt'}]}
"""


def test_a_dry_run_counts_before_and_after_the_corpus_is_built(path, tmp_path, capsys):
    for domain, count in (("web", 40), ("code", 25)):
        for i in range(count):
            text = f"{domain} document {i} " + " ".join(f"{domain}{i}word{j}" for j in range(60))
            (tmp_path / f"{domain}{i}.txt").write_text(text)
    text = path.read_text().replace("{tokens: 900}", "{}").replace("{tokens: 300}", "{}")
    text = text.replace("{web: 0.5, code: 0.5}", "{natural: 1.0}")
    start, end = text.index("trainer:"), text.index("budget:")
    proxy = "trainer: {kind: proxy, settings: {context: 8, batch: 4}}\n"
    path.write_text(
        text[:start].replace("objective:", "  baseline: uniform\n" + CORPUS + "objective:")
        + proxy
        + text[end:]
    )
    out = tmp_path / "runs" / "small"
    assert call("run", path, "--out", out, "--dry-run", "--json") == 0
    captured = capsys.readouterr()
    before = json.loads(captured.out)
    assert "the corpus is not built yet" in captured.err
    assert not (tmp_path / "runs").exists()
    job = Job.open(path, out)
    study = job.prepare(lambda _: None)
    assert call("run", path, "--out", out, "--dry-run", "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["tokens"] == before["tokens"]
    assert "the corpus is not built yet" not in captured.err
    size, vocabulary = job.file.highest, job.built_corpus().vocab_size
    counted = flops(architecture(size.parameters), size.tokens, vocab_size=vocabulary, context=8)
    assert study.settings.flops(size) == pytest.approx(counted)
    counts = job.built_corpus().natural_weights()
    assert dict(study.objective.weights) == pytest.approx(counts)
    # Reading needs no corpus.
    for i, trial in enumerate(study.ask()):
        study.tell(trial.id, {"web": 2.0 + i, "code": 2.0})
    study.store.close()
    job.corpus_dir.rename(tmp_path / "moved")
    assert call("recommend", out, "--json") == 0
    assert call("export", out, "--to", "schedule") == 0
    assert isinstance(Job.open(out).existing_study(), Study)
