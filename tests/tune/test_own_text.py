"""Own text: tokens that the space does not give come from the text, before and after the build."""

import pytest
import yaml

from mixopt.errors import CorpusError, SpaceError
from mixopt.tune.cost_estimate import estimate_cost
from mixopt.tune.job import Job

STUDY = {
    "name": "own",
    "space": {"domains": ["a", "b"]},
    "corpus": {
        "name": "own",
        "context": 16,
        "tokenizer": {"train": {"vocab_size": 300}},
        "domains": {n: {"sources": [{"glob": f"{n}/*.txt"}]} for n in "ab"},
    },
    "objective": {"weights": {"natural": 1.0}},
    "fidelity": {"parameters": "10k", "tokens": "4k"},
    "budget": {"trials": 6},
}


@pytest.fixture
def study(tmp_path):
    """A study file beside text of which domain a has thrice as much as b."""
    for name, words in (("a", 3), ("b", 1)):
        (tmp_path / name).mkdir()
        for k in range(60):
            text = " ".join(f"{name}{(k * 37 + i * i) % 997}" for i in range(100 * words))
            (tmp_path / name / f"{k}.txt").write_text(text)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    return path


def share(job, tokens):
    study = job.draft(tokens)
    assert study.space.baseline_schedule.base["a"] == pytest.approx(study.objective.weights["a"])
    return study.objective.weights["a"]


def test_natural_is_told_from_files_then_from_the_corpus(study):
    job = Job.open(study, study.parent / "runs" / "own")
    assert share(job, job.expected_tokens()) == pytest.approx(0.75, abs=0.03)
    assert any("told from its files" in line for line in estimate_cost(job).advice)
    counts = job.build(lambda _: None)
    assert job.tokens() == counts
    assert share(job, counts) == pytest.approx(counts["a"] / sum(counts.values()))
    assert not any("told from its files" in line for line in estimate_cost(job).advice)
    text = job.file.to_yaml()
    again = study.with_name("again.yaml")
    again.write_text(text)
    assert Job.open(again).file == job.file


def test_a_folder_is_a_built_corpus(study):
    job = Job.open(study, study.parent / "runs" / "own")
    counts = job.build(lambda _: None)
    folder = job.corpus_dir
    study.write_text(yaml.safe_dump(STUDY | {"corpus": str(folder.relative_to(study.parent))}))
    other = Job.open(study, study.parent / "other")
    assert other.corpus_dir == folder
    assert other.tokens() == counts == other.build(lambda _: None)
    study.write_text(
        yaml.safe_dump(STUDY | {"corpus": str(folder), "space": {"domains": ["a", "c"]}})
    )
    with pytest.raises(SpaceError, match=r"\['c'\], which the corpus does not build"):
        Job.open(study)


def test_text_that_is_not_there_is_named_before_anything_runs(study):
    corpus = STUDY["corpus"] | {"domains": {n: {"sources": [{"glob": f"{n}/*.md"}]} for n in "ab"}}
    study.write_text(yaml.safe_dump(STUDY | {"corpus": corpus}))
    with pytest.raises(CorpusError, match=r"'a/\*\.md' matches no file"):
        estimate_cost(Job.open(study))


def test_a_trainer_of_ones_own_needs_the_tokens(study):
    trainer = {"kind": "command", "command": "true"}
    whole = STUDY | {"trainer": trainer, "objective": {"weights": {"x": 1.0}}}
    study.write_text(yaml.safe_dump({k: v for k, v in whole.items() if k != "corpus"}))
    with pytest.raises(SpaceError, match="needs the tokens of every domain"):
        Job.open(study)
