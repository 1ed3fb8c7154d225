import json
import sys

import jsonschema
import pytest
import yaml

from mixopt.cli import main
from mixopt.errors import StudyError
from mixopt.tune.file_schemas import FILES, file_schema, schema_path
from mixopt.tune.job import Job
from mixopt.tune.study_file import StudyFile


@pytest.mark.parametrize("file", FILES)
def test_the_shipped_schema_is_that_of_the_model(file):
    assert json.loads(schema_path(file).read_text()) == file_schema(file)
    jsonschema.Draft202012Validator.check_schema(file_schema(file))


@pytest.mark.parametrize("extra", [[], ["--command", "python train.py {schedule} {out}"]])
def test_a_new_study_is_one_that_the_schema_and_the_reader_take(tmp_path, extra, capsys):
    path = tmp_path / "mine.yaml"
    words = ["--domain", "web=web/*.txt", "--domain", "code=c: d/*.py", *extra]
    with pytest.raises(SystemExit, match="0"):
        main(["init", str(path), *words])
    assert "next: mixopt run" in capsys.readouterr().out
    assert f"$schema={schema_path('study')}" in path.read_text().splitlines()[0]
    jsonschema.validate(yaml.safe_load(path.read_text()), file_schema("study"))
    read = StudyFile.from_yaml(path)
    assert read.name == "mine"
    assert read.space.names == ("web", "code")
    assert read.trainer.kind == ("command" if extra else "proxy")
    with pytest.raises(SystemExit, match="1"):
        main(["init", str(path), *words])
    assert "is there already" in capsys.readouterr().err


def test_the_schema_refuses_what_the_reader_refuses():
    wrong = {"name": "x", "spaces": 5}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, file_schema("study"))


def test_a_function_in_the_current_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "folder_trainer_of_a_test.py").write_text("def train(*_):\n    return {'a': 1.0}\n")
    path = tmp_path / "study.yaml"
    path.write_text(
        "name: here\nspace: {domains: [a, b], baseline: uniform}\n"
        "objective: {weights: {a: 1}}\nfidelity: {parameters: 1k, tokens: 1k}\n"
        "trainer: {kind: callable, target: 'folder_trainer_of_a_test:train'}\nbudget: {trials: 4}\n"
    )
    job = Job.open(path, tmp_path / "out")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    with pytest.raises(StudyError, match="cannot be imported"):
        job.trainer()
    monkeypatch.chdir(tmp_path)
    assert job.trainer().function() == {"a": 1.0}
