"""Verbs that are asked what they cannot do: exit code 1, one sentence and a next step."""

import json

import pytest
import yaml
from documents import CORPUS, SPACE, STUDY

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
    ("fit {f}/study.yaml --objective x", "its first line has 1"),
    ("fit {f}/m.csv {f}/r.csv --objective x", "weights must sum to 1"),
    ("fit {f}/r.csv --objective web", "must have columns of weights"),
    ("fit {f}/wide.csv {f}/m.csv --objective x", "'" + "9" * 60 + "' and more"),
    ("fit {f}/utf16.csv {f}/m.csv --objective x", "it is not UTF-8 text"),
    ("fit {f}/r.csv {f}/m.csv --objective x --to megatrn", "there is no exporter 'megatrn'"),
    ("fit {f}/r.csv {f}/m.csv --objective x --kind x=los", "a kind that is one of"),
    ("fit {f}/r.csv {f}/m.csv --objective x --target 1B", "takes PARAMETERS:TOKENS"),
    ("fit {f}/r.csv {f}/m.csv --objective x --laws M9", "a law must be one of"),
    ("fit {f}/r.csv {f}/m.csv --objective x --guardrail z=1", "the objective names ['z']"),
    ("run {f}/space.yaml --dry-run", "it belongs under `space`"),
    ("run {f}/corpus.yaml --dry-run", "it belongs under `corpus`"),
    ("run {f}/r.csv --dry-run", "must hold keys and values at its top"),
    ("run {f}/utf16.yaml --dry-run", "it is not UTF-8 text"),
    ("run {f}/numbers.yaml --dry-run", "objective.weights[1]: must be text; got 1"),
    ("space check {f}/study.yaml", "this is a study file"),
    ("space import {f}/space.yaml --from levanter", "lacks the key 'train_weights'"),
    ("space import {f} --from levanter", "cannot be read: Is a directory"),
    ("corpus build {f}/study.yaml --out {f}/c", "this is a study file"),
    ("export {f}/hand.yaml --to schedule --learning-rate {{peak", "takes a peak or a rule"),
    ("export {f}/hand.yaml --to schedule", "must sum to 1; they sum to 1.3"),
    ("export {f}/hand.yaml --to schedule --paths web", "web cannot be read: No such file"),
    ("import {f}/study.yaml {f}/logged.csv", "no run of"),
    ("import {f}/study.yaml {f}/ragged.csv", "line 3: every line must have the 4 columns"),
    ("init {f}/x.yaml --domain web=x --domain web=y", "must name each thing once"),
    ("init {f}/x.yaml --domain web=x --domain code=y --tokens lots", "--tokens takes a whole"),
    ("init {f}/x.yaml --domain web=x --domain code=y --parameters -5", "got '-5'"),
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
        "wide.csv": "run,web,code\n1," + "9" * 400 + ",0.5\n2,1,0\n3,1,0\n",
        "corpus.yaml": yaml.safe_dump(CORPUS),
        "numbers.yaml": yaml.safe_dump(STUDY | {"objective": {"weights": {1: 1.0}}}),
        "hand.yaml": "phases: [{fraction: .8, mixture: {a: 1}}, {fraction: .5, mixture: {b: 1}}]",
        "logged.csv": "Name,State,web,code,loss\na,running,0.5,0.5,2\n",
        "ragged.csv": "Name,State,web,code\na,finished,1,2\nb,finished,1,2,3\n",
        "s.json": json.dumps({"format": "mixopt-schedule", "version": 1}),
    }
    (made / "empty").mkdir()
    for name, text in texts.items():
        (made / name).write_text(text)
    for name in ("utf16.csv", "utf16.yaml"):
        (made / name).write_text("run,web\n1,1\n", encoding="utf-16")
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
