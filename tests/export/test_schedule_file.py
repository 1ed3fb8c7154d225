"""schedule.json: round trip, schema and refusals."""

import json

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixopt.errors import ExportError
from mixopt.export import (
    Provenance,
    export,
    read_schedule,
    read_schedule_file,
    schedule_json_schema,
    schedule_schema_path,
)
from mixopt.space import Fidelity, LearningRate, Phase, Schedule, SearchSpace

SCHEDULE = Schedule.two_phase(
    {"web": 0.7, "code": 0.3, "books": 0.0},
    {"web": 0.3, "code": 0.3, "books": 0.4},
    0.2,
    LearningRate(peak=1e-3, warmup=0.01, decay=0.2, shape="sqrt"),
)


def write(out, schedule=SCHEDULE, **more):
    more = {"tokens": 1_000_000, **more}
    return export(schedule, to="schedule", out=out, **more)[0]


@pytest.fixture
def path(tmp_path):
    return write(tmp_path)


def test_it_reads_back_to_the_same_schedule(path):
    assert read_schedule(path) == SCHEDULE


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    d=st.integers(1, 20),
    fraction=st.floats(0.01, 0.99),
)
def test_weights_survive_to_the_last_bit(tmp_path_factory, seed, d, fraction):
    rng = np.random.default_rng(seed)
    base, ending = (
        {f"d{i}": float(w) for i, w in enumerate(rng.dirichlet(np.full(d, 0.5)))} for _ in range(2)
    )
    schedule = Schedule.two_phase(base, ending, fraction)
    again = read_schedule(write(tmp_path_factory.mktemp("s"), schedule, tokens=10**9))
    assert [dict(p.mixture) for p in again.phases] == [dict(p.mixture) for p in schedule.phases]
    assert again == schedule


def test_it_follows_the_published_schema(path):
    schema = json.loads(schedule_schema_path().read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    data = json.loads(path.read_text())
    jsonschema.validate(data, schema)
    data["phases"][0]["fraction"] = 1.5
    with pytest.raises(jsonschema.ValidationError, match="greater than the maximum of 1"):
        jsonschema.validate(data, schema)


def test_the_published_schema_is_that_of_the_code():
    assert json.loads(schedule_schema_path().read_text()) == schedule_json_schema()


def test_it_holds_tokens_epochs_and_offsets(tmp_path):
    space = SearchSpace(
        domains=[{"name": "web", "tokens": 10**7}, {"name": "code", "tokens": 100_000}, "books"],
        phases=[{"name": "base"}, {"name": "ending", "fraction": [0, 0.2]}],
        baseline="uniform",
        target=Fidelity(parameters=10**6, tokens=10**6),
    )
    known = Provenance(study="s", tokenizer="bpe", corpus_fingerprints={"web": "ab" * 32})
    file = read_schedule_file(write(tmp_path, space=space, provenance=known))
    ending = file.phases[1]
    assert ending.tokens == 200_000
    assert ending.start == 800_000
    assert ending.domains["code"].start_offset == 240_000
    assert ending.domains["code"].epochs == pytest.approx(0.6)
    assert ending.domains["code"].epochs_at_end == pytest.approx(3.0)
    assert ending.domains["books"].epochs is None
    assert file.domains["code"].epochs == pytest.approx(3.0)
    assert file.domains["web"].fingerprint == "ab" * 32
    assert file.upsampling_ratio["books"] is None
    assert file.upsampling_ratio["web"] == pytest.approx(3 / 7)
    assert file.exposure["books"] == pytest.approx(0.08)
    assert file.provenance.study == "s"
    assert file.target == Fidelity(parameters=10**6, tokens=10**6)


def test_a_phase_keeps_its_own_learning_rate(tmp_path):
    ending = Phase(
        name="ending", fraction=0.5, mixture={"a": 1.0}, learning_rate=LearningRate(decay=1.0)
    )
    base = Phase(name="base", fraction=0.5, mixture={"a": 0.5, "b": 0.5})
    schedule = Schedule(phases=(base, ending))
    assert read_schedule(write(tmp_path, schedule)) == schedule


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "must say format 'mixopt-schedule'; it says 'other'"),
        ({"version": 2}, "is version 2 of the format; this mixopt reads 1"),
        ({"tokens": -1}, "tokens: must be greater than 0; got -1"),
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"phases": []}, "phases"),
    ],
)
def test_a_wrong_file_is_refused(path, change, message):
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, **change}))
    with pytest.raises(ExportError, match=message):
        read_schedule(path)


def test_weights_that_do_not_sum_are_refused(path):
    data = json.loads(path.read_text())
    data["phases"][0]["mixture"]["web"] = 0.8
    path.write_text(json.dumps(data))
    with pytest.raises(ExportError, match=r"must sum to 1; they sum to 1\.1"):
        read_schedule(path)


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(ExportError, match="cannot be read"):
        read_schedule(tmp_path / "none.json")
    (tmp_path / "half.json").write_text('{"format": ')
    with pytest.raises(ExportError, match="is not JSON"):
        read_schedule(tmp_path / "half.json")
