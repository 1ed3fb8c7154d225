"""A study file with several fidelities: read, refused, planned."""

import pytest

from mixopt.errors import SpaceError
from mixopt.space import Fidelity
from mixopt.tune.cost_estimate import estimate_cost
from mixopt.tune.job import Job
from mixopt.tune.study_file import StudyFile

HEAD = """
name: sizes
space: {domains: {a: {tokens: 1000}, b: {tokens: 3000}}}
objective: {weights: {a: 0.5, b: 0.5}}
trainer: {kind: command, command: "true"}
initial: 9
confirm_seeds: 1
budget: {trials: 12, flops: 3.0e+12}
"""
SIZES = """
fidelities:
  - {parameters: 400000, tokens: 200000}
  - {parameters: 100000, tokens: 100000}
"""
ONE = "fidelity: {parameters: 100000, tokens: 100000}\n"
SMALL, LARGE = (
    Fidelity(parameters=10**5, tokens=10**5),
    Fidelity(parameters=400_000, tokens=200_000),
)


def write(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_with_several_fidelities_makes_such_a_study(tmp_path):
    job = Job.open(write(tmp_path, HEAD + SIZES), out=tmp_path / "out")
    job.prepare(lambda _line: None)
    assert (job.file.cheapest, job.file.highest) == (SMALL, LARGE)
    assert job.study.config.fidelities == (SMALL, LARGE)
    assert job.study.fidelity == LARGE
    assert Job.open(tmp_path / "out").file == job.file


def test_the_estimate_counts_each_trial_at_its_own_size(tmp_path):
    found = estimate_cost(Job.open(write(tmp_path, HEAD + SIZES), out=tmp_path / "out"))
    assert found.trials == 12
    assert found.first_round == 6 * SMALL.tokens + 3 * LARGE.tokens
    assert found.first_round_flops == pytest.approx(6 * SMALL.flops + 3 * LARGE.flops)
    # Twelve of the largest would cost more than the budget allows.
    assert found.flops == pytest.approx(3.0e12 + 4 * LARGE.flops)


@pytest.mark.parametrize(("text", "what"), [("", "it has neither"), (SIZES + ONE, "it has both")])
def test_one_of_the_two_is_needed(tmp_path, text, what):
    with pytest.raises(SpaceError, match=f"either `fidelity` or `fidelities`; {what}"):
        StudyFile.from_yaml(write(tmp_path, HEAD + text))
