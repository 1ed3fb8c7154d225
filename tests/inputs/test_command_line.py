"""Verbs that are asked what they cannot do: exit code 1, one sentence and a next step."""

import json

import pytest
import yaml
from documents import SPACE, STUDY

from mixopt.cli import main

# Arguments, with {f} for a folder of files, and what stderr says.
CASES = [
    ("fit {f}/r.csv {f}/m.csv --objective x --seed -1", "a seed must be at least 0; got -1"),
    ("fit {f}/none.csv {f}/m.csv --objective x", "none.csv cannot be read as CSV"),
    ("fit {f} {f}/m.csv --objective x", "cannot be read as CSV"),
    ("fit {f}/r.csv {f}/m.csv --objective x=", "--objective takes NAME=WEIGHT"),
    ("fit {f}/r.csv {f}/m.csv --objective x=0.4", "takes NAME=WEIGHT|sum to 1"),
    ("fit {f}/r.csv {f}/m.csv --objective z", "the objective names ['z']"),
    ("fit {f}/r.csv {f}/m.csv --objective x --baseline web=2", "must sum to 1"),
    ("critical", "reads one thing"),
    ("critical --runs {f}/none.csv", "none.csv cannot be read as CSV"),
    ("critical --runs {f}/shares.csv", "has no column base"),
    ("critical --runs {f}/shares.csv --base-loss 2 --level 2", "must lie between 0 and 1; got 2"),
    ("critical --runs {f}/shares.csv --table continual", "reads one thing"),
    ("space check pil-17", "did you mean 'pile-17'?"),
    ("space check {f}/none.yaml", "no search space named"),
    ("space check {f}", "no search space named"),
    ("space check {f}/bad.yaml", "must hold keys and values"),
    ("corpus build {f}/none.yaml --out {f}/c", "no corpus specification named"),
    ("run {f}/none.yaml", "cannot be read"),
    ("run {f}/empty", "holds no study.yaml"),
    ("run {f}/bad.yaml --dry-run", "must hold keys and values"),
    ("recommend {f}/study.yaml --storage mysql://u@h/d", "not a database URL"),
    ("run {f}/study.yaml --dry-run --storage mysql://u@h/d", "not a database URL"),
    ("recommend {f}/study.yaml", "there is no study at|does not exist|holds no study"),
    ("recommend {f}/none", "cannot be read"),
    ("trials {f}/study.yaml --storage nope://x", "not a database URL"),
    ("report {f}/study.yaml --storage {f}/r.csv", "r.csv"),
    ("export {f}/s.json --to megatrn", "megatrn"),
    ("export {f}/bad.json --to megatron", "bad.json cannot be read"),
    ("export {f}/none.json --to megatron", "cannot be read"),
    ("export {f}/list.json --to megatron", "must say format"),
    ("export {f}/later.json --to megatron", "version 99"),
    ("inherit {f}/study.yaml --old {f}/none", "cannot be read"),
    ("tradeoff {f}/study.yaml --target a= --general b --slack 0", "--target takes NAME=WEIGHT"),
    ("run {f}/study.yaml --out {f}/r.csv/x", "a file stands where a folder must"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("files")
    texts = {
        "r.csv": "run,web,code\n1,0.5,0.5\n2,0.25,0.75\n3,1,0\n",
        "m.csv": "run,x,y\n1,2,4\n2,3,5\n3,1,9\n",
        "shares.csv": "share,loss\n0.1,2.5\n0.5,2.1\n0.9,1.9\n",
        "bad.yaml": "- a",
        "space.yaml": yaml.safe_dump(SPACE),
        "study.yaml": yaml.safe_dump(STUDY, sort_keys=False),
        "bad.json": "{",
        "list.json": "[]",
        "later.json": json.dumps({"format": "mixopt-schedule", "version": 99}),
        "s.json": json.dumps({"format": "mixopt-schedule", "version": 1}),
    }
    (made / "empty").mkdir()
    for name, text in texts.items():
        (made / name).write_text(text)
    return made


@pytest.mark.parametrize(("words", "says"), CASES, ids=[c[0].replace("{f}", "") for c in CASES])
def test_a_mistake_on_the_command_line(words, says, folder, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main([w.format(f=folder) for w in words.split()])
    told = capsys.readouterr().err
    assert end.value.code == 1
    assert "\nerror: " in f"\n{told}"
    assert any(s in told for s in says.split("|")), told
    assert "\nhint: " in told
    assert not list(tmp_path.iterdir())
