"""What trainers do without a word, handled or refused."""

import hashlib
import json

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mixopt.errors import ExportError, SpaceError
from mixopt.export import (
    EXPORTERS,
    ExportRequest,
    Provenance,
    ScheduleSource,
    export,
    export_file,
    export_source,
    exporter_of,
    read_source,
)
from mixopt.export.levanter import _in_blocks
from mixopt.space import Phase, Schedule

THREE = Schedule(
    phases=tuple(
        Phase(name=n, fraction=f, mixture=m)
        for n, f, m in (
            ("one", 0.5, {"web": 1.0, "code": 0.0}),
            ("two", 0.3, {"web": 0.6, "code": 0.4}),
            ("three", 0.2, {"web": 0.01, "code": 0.99}),
        )
    )
)
MORE = {
    "tokens": 16 * 10 * 1000,
    "sequence_length": 16,
    "batch": 10,
    "paths": {"web": "/d/web", "code": "/d/code"},
}


def files(to, tmp_path, schedule=THREE, **more):
    written = export(schedule, to=to, out=tmp_path, **{**MORE, **more})
    return {p.name: p.read_text() for p in written}


def test_megatron_transitions_are_one_word_with_commas(tmp_path):
    found = files("megatron", tmp_path)
    assert "--phase-transition-iterations 500,800\n" in found["megatron_phase1_one.sh"]
    assert "--train-samples 10000\n" in found["megatron_phase3_three.sh"]
    # A list of odd length is read as prefixes without weights; a zero weight would draw nothing.
    for slug in ("phase1_one", "phase2_two", "phase3_three"):
        train = json.loads(found[f"megatron_{slug}.json"])["train"]
        assert len(train) % 2 == 0
        assert all(float(weight) > 0 for weight in train[::2])


def test_nanotron_stages_start_at_step_one_and_add_up(tmp_path):
    found = files("nanotron", tmp_path)
    last = yaml.safe_load(found["nanotron_phase3_three.yaml"])
    assert [s["start_training_step"] for s in last["data_stages"]] == [1, 501, 801]
    assert len({s["name"] for s in last["data_stages"]}) == 3
    first = yaml.safe_load(found["nanotron_phase1_one.yaml"])
    assert len(first["data_stages"]) == 1
    assert first["tokens"]["train_steps"] == 500


def test_foundry_durations_sum_to_the_whole(tmp_path):
    config = yaml.safe_load(files("llm-foundry", tmp_path)["llm-foundry_data.yaml"])
    callback = config["callbacks"]["curriculum_learning"]
    parts = [callback["duration"], *(s["duration"] for s in callback["schedule"])]
    assert sum(int(p.removesuffix("tok")) for p in parts) == MORE["tokens"]
    assert config["max_duration"] == f"{MORE['tokens']}tok"
    assert config["train_loader"]["dataset"]["epoch_size"] == 5000
    assert "callbacks" not in yaml.safe_load(
        files("llm-foundry", tmp_path / "b", Schedule.static({"web": 1.0, "code": 0.0}))[
            "llm-foundry_data.yaml"
        ]
    )


def test_levanter_starts_on_blocks_and_small_sources_are_drawn(tmp_path):
    """With a batch of 960 and an odd start the largest common block with 2,048 was 64 sequences."""
    schedule = Schedule.two_phase({"web": 0.98, "code": 0.02}, {"web": 0.5, "code": 0.5}, 1 / 3)
    more = {"batch": 960, "tokens": 16 * 960 * 1001}
    config = yaml.safe_load(files("levanter", tmp_path, schedule, **more)["levanter_data.yaml"])
    block = config["data"]["mixture_block_size"]
    (_, base), (start, _) = config["data"]["train_weights"]
    assert start * 960 % block == 0
    assert block < 2**16
    assert abs(int(base["code"] * block) / block - 0.02) < 3e-4
    report = json.loads((tmp_path / "levanter_report.json").read_text())
    assert abs(report["phases"][1]["moved_sequences"]) < 960 * 8
    assert report["phases"][0]["domains"]["code"]["asked"] == pytest.approx(0.02)
    assert report["phases"][0]["largest_difference"] < 3e-4


@settings(max_examples=60, deadline=None)
@given(d=st.integers(1, 200), block=st.integers(256, 2**16 - 1), seed=st.integers(0, 2**31))
def test_levanter_draws_the_block_that_was_meant(d, block, seed):
    """Its arithmetic: truncate weight times block, give what is left to the largest."""
    shares = np.random.default_rng(seed).dirichlet(np.full(d, 0.3))
    counts = _in_blocks(shares, block, block)
    assert counts.sum() == block
    assert np.abs(counts - shares * block).max() < 2.0


@pytest.mark.parametrize("to", ["llama-factory", "maxtext"])
def test_weights_per_row_are_said_to_be_so(tmp_path, to):
    files(to, tmp_path)
    report = json.loads((tmp_path / f"{to}_report.json").read_text())
    assert any("tokens" in note for note in report["notes"])
    assert report["unit_of_weight"].split()[0] in ("rows", "records")


@pytest.mark.parametrize("to", [e for e in EXPORTERS if exporter_of(e).batch])
def test_a_phase_shorter_than_a_batch_is_refused(tmp_path, to):
    short = Schedule.two_phase({"web": 1.0}, {"code": 1.0}, 0.0004)
    with pytest.raises(ExportError, match="phase 'ending' must last at least a step of 160 tokens"):
        files(to, tmp_path / "x", short)
    assert not (tmp_path / "x").exists()


def test_another_tokenizer_is_refused(tmp_path):
    same, other = tmp_path / "a.json", tmp_path / "b.json"
    same.write_text("{}")
    other.write_text("{ }")
    known = Provenance(tokenizer_fingerprint=hashlib.sha256(b"{}").hexdigest())
    source = ScheduleSource(THREE, tokens=1000, provenance=known)
    export_source(source, ExportRequest(to="schedule", tokenizer=str(same)), tmp_path)
    with pytest.raises(ExportError, match="must use the tokenizer in which the weights are"):
        export_source(source, ExportRequest(to="schedule", tokenizer=str(other)), tmp_path)
    with pytest.raises(ExportError, match="cannot be read"):
        export_source(source, ExportRequest(to="schedule", tokenizer="/none"), tmp_path)


HAND = """
phases:
- {tokens: 128000, mixture: {web: 7, code: 3}}
- {name: ending, tokens: 32000, mixture: {web: 0.5, code: 0.5}, learning_rate: {decay: 1}}
paths: {web: /d/web, code: /d/code}
supply: {code: 20000}
"""


def test_a_schedule_written_by_hand(tmp_path):
    path = tmp_path / "hand.yaml"
    path.write_text(HAND)
    source = read_source(path)
    assert source.tokens == 160_000
    assert [p.fraction for p in source.schedule.phases] == [0.8, 0.2]
    assert dict(source.schedule.base) == {"web": 0.7, "code": 0.3}
    export_file(path, to="megatron", out=tmp_path / "o", sequence_length=16, batch=10)
    report = json.loads((tmp_path / "o" / "megatron_report.json").read_text())
    assert report["total"]["code"]["epochs"] == pytest.approx(54_400 / 20_000)
    bare = tmp_path / "bare.json"
    bare.write_text(source.schedule.model_dump_json())
    assert read_source(bare).schedule == source.schedule
    with pytest.raises(ExportError, match="needs the run's training tokens"):
        export_file(bare, to="schedule", out=tmp_path)
    export_file(bare, to="schedule", out=tmp_path, tokens=1000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("phases: [{tokens: 1, mixture: {a: 1}}, {fraction: 0.5, mixture: {a: 1}}]", "or none"),
        ("phases: [{fraction: 0.4, mixture: {a: 1}}]\ntokens: 10", "must sum to 1"),
        ("phases: [{tokens: 10, mixture: {a: 0}}]", "must have a positive sum"),
        ("phases: []", "phases"),
        ("phases: [{tokens: 10, mixture: {a: 1}, rate: 1}]", "unknown key 'rate'"),
    ],
)
def test_a_wrong_schedule_is_refused(tmp_path, text, message):
    path = tmp_path / "hand.yaml"
    path.write_text(text)
    with pytest.raises((ExportError, SpaceError), match=message):
        read_source(path)


def test_a_mistyped_path_is_refused(tmp_path):
    with pytest.raises(ExportError, match=r"paths names the unknown domains \['wbe'\]"):
        files("megatron", tmp_path, paths={"wbe": "/d/web"})
