"""The files of each trainer, loaded with the real library where it is installed."""

import importlib.util
import json
import math
import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mixopt.errors import ExportError
from mixopt.export import EXPORTERS, export, export_file, read_schedule_file, write_files
from mixopt.space import LearningRate, Phase, Schedule

SCHEDULE = Schedule.two_phase(
    {"web": 0.7, "code": 0.3, "books": 0.0},
    {"web": 0.3, "code": 0.3, "books": 0.4},
    0.2,
    LearningRate(peak=1e-3, warmup=0.01, decay=0.2),
)
PATHS = {"web": "/d/web", "code": "/d/code", "books": "/d/books"}
MORE = {"tokens": 128_000, "paths": PATHS, "sequence_length": 128}
STEPS = {"levanter": {"batch": 1}, "nanotron": {"batch": 1}}


@pytest.mark.parametrize("to", EXPORTERS)
def test_every_exporter_writes_a_token_report(tmp_path, to):
    written = export(
        SCHEDULE, to=to, out=tmp_path / "new", supply={"books": 5120}, **MORE, **STEPS.get(to, {})
    )
    assert all(path.is_file() for path in written)
    assert not [p for p in (tmp_path / "new").iterdir() if p not in written]
    report = next(p for p in written if p.name in (f"{to}_tokens.json", "schedule.json"))
    phases = json.loads(report.read_text())["phases"]
    assert [p["tokens"] for p in phases] == [102_400, 25_600]
    assert phases[1]["domains"]["web"]["start_offset"] == 71_680
    assert phases[1]["domains"]["books"]["tokens"] == 10_240
    assert phases[1]["domains"]["books"]["epochs_at_end"] == 2.0


def test_an_unknown_trainer_is_refused(tmp_path):
    with pytest.raises(ExportError, match="did you mean 'megatron'"):
        export(SCHEDULE, to="megatronn", out=tmp_path, **MORE)


@pytest.mark.parametrize("to", ["megatron", "huggingface"])
def test_what_is_missing_is_named_and_nothing_is_written(tmp_path, to):
    out = tmp_path / "out"
    with pytest.raises(ExportError, match=r"path of every domain in use; \['books'\] have none"):
        export(SCHEDULE, to=to, out=out, **{**MORE, "paths": {"web": "a", "code": "b"}})
    with pytest.raises(ExportError, match="counts sequences and needs their length"):
        export(SCHEDULE, to=to, out=out, **{**MORE, "sequence_length": None})
    assert not out.exists()


def test_rounding_to_whole_sequences_is_reported(tmp_path):
    export(SCHEDULE, to="megatron", out=tmp_path, **{**MORE, "tokens": 128_050})
    report = json.loads((tmp_path / "megatron_tokens.json").read_text())
    assert report["tokens"] == 128_000
    assert report["tokens_requested"] == 128_050
    assert "nearest whole number of 128-token sequences" in report["notes"][-1]


@pytest.mark.parametrize("to", EXPORTERS)
def test_a_schedule_file_exports_as_its_study_did(tmp_path, to):
    kept = export(SCHEDULE, to="schedule", out=tmp_path / "s", supply={"books": 5120}, **MORE)[0]
    steps = STEPS.get(to, {})
    direct = export(SCHEDULE, to=to, out=tmp_path / "a", supply={"books": 5120}, **MORE, **steps)
    again = export_file(kept, to=to, out=tmp_path / "b", **steps)
    assert [p.read_text() for p in again] == [p.read_text() for p in direct]
    longer = export_file(kept, to="schedule", out=tmp_path / "c", sequence_length=256)[0]
    assert read_schedule_file(longer).sequence_length == 256


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        write_files({"a.txt": "a"}, tmp_path / "file")


def blends(out):
    return [json.loads(p.read_text()) for p in sorted(out.glob("megatron_phase*.json"))]


def test_megatron_blends(tmp_path):
    export(SCHEDULE, to="megatron", out=tmp_path, batch=10, **MORE)
    base, ending = blends(tmp_path)
    assert base == {"train": ["0.7", "/d/web", "0.3", "/d/code"], "valid": None, "test": None}
    for blend in (base, ending):
        assert len(blend["train"]) % 2 == 0
        assert math.fsum(map(float, blend["train"][::2])) == 1.0
        assert "0" not in blend["train"]
    launch = (tmp_path / "megatron_launch.md").read_text()
    for flag in (
        "--train-samples 1000",
        "--phase-transition-iterations 80",
        "--global-batch-size 10",
        "--lr-warmup-samples 10",
        "--lr-decay-style WSD",
        "--lr-wsd-decay-samples 200",
        "--lr-wsd-decay-style linear",
    ):
        assert flag in launch
    assert "web 71,680, code 30,720 tokens" in launch


@pytest.mark.parametrize(
    ("rule", "flags"),
    [
        (LearningRate(warmup=0.1, decay=0.9, shape="cosine"), ["--lr-decay-style cosine"]),
        (LearningRate(peak=1.0), ["--lr 1", "--lr-decay-style constant"]),
        (LearningRate(decay=0.1, shape="sqrt"), ["--lr $PEAK", "--lr-wsd-decay-style minus_sqrt"]),
        (LearningRate(decay=0.1, shape="inverse_sqrt"), ["no inverse square root"]),
        (None, ["--train-samples 1000"]),
    ],
)
def test_megatron_learning_rates(tmp_path, rule, flags):
    export(Schedule.static({"web": 1.0}, rule), to="megatron", out=tmp_path, **MORE)
    launch = (tmp_path / "megatron_launch.md").read_text()
    assert all(flag in launch for flag in flags)
    assert "--phase-transition-iterations" not in launch
    assert ("--lr-" in launch) == (rule is not None)


def test_megatron_rule_of_one_phase(tmp_path):
    phases = (
        Phase(name="base", fraction=0.5, mixture={"web": 1.0}),
        Phase(
            name="the end!",
            fraction=0.5,
            mixture={"code": 1.0},
            learning_rate=LearningRate(decay=1.0, warmup=0.0),
        ),
    )
    export(Schedule(phases=phases), to="megatron", out=tmp_path, **MORE)
    launch = (tmp_path / "megatron_launch.md").read_text()
    assert "--override-opt-param-scheduler" in launch
    assert "--phase-transition-iterations $((500 / GLOBAL_BATCH))" in launch
    assert (tmp_path / "megatron_phase2_the_end_.json").is_file()


def test_megatron_draws_the_quotas(tmp_path):
    if importlib.util.find_spec("megatron") is None:
        pytest.skip("megatron-core is not installed; the blend's structure is tested without it")
    paths = {name: str(tmp_path / name) for name in PATHS}
    export(SCHEDULE, to="megatron", out=tmp_path, tokens=1600, paths=paths, sequence_length=8)
    command = [sys.executable, str(Path(__file__).with_name("megatron_counts.py"))]
    blend = str(tmp_path / "megatron_phase2_ending.json")
    done = subprocess.run([*command, blend, "40", "8"], capture_output=True, text=True, check=True)
    drawn = json.loads(done.stdout.splitlines()[-1])
    assert drawn == {paths["web"]: 12, paths["code"]: 12, paths["books"]: 16}


@pytest.fixture
def mixture(tmp_path, monkeypatch):
    """The generated script, on three sources of 60, 50 and 5 rows."""
    pytest.importorskip("datasets", reason="the datasets library is not installed")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    paths = {}
    for name, rows in (("web", 60), ("code", 50), ("books", 5)):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"d": name, "i": i}) + "\n" for i in range(rows)))
        paths[name] = str(path)
    export(
        SCHEDULE, to="huggingface", out=tmp_path, tokens=800, paths=paths, sequence_length=8, seed=3
    )
    return runpy.run_path(str(tmp_path / "huggingface_mixture.py"))


def test_hugging_face_script_draws_the_quotas(mixture):
    rows = list(mixture["build"]())
    assert Counter(r["d"] for r in rows[:80]) == {"web": 56, "code": 24}
    assert Counter(r["d"] for r in rows[80:]) == {"web": 6, "code": 6, "books": 8}
    # Offsets: the second phase goes on where the first stopped, and starts again at the end.
    assert [r["i"] for r in rows if r["d"] == "web"] == [*range(60), 0, 1]
    assert [r["i"] for r in rows if r["d"] == "books"] == [0, 1, 2, 3, 4, 0, 1, 2]
    assert [r["d"] for r in rows[:80]] != sorted((r["d"] for r in rows[:80]), reverse=True)


def test_hugging_face_script_is_deterministic_in_its_seed(mixture):
    build = mixture["build"]
    assert list(build()) == list(build())
    assert list(build(seed=4)) != list(build())


def test_hugging_face_probabilities(mixture):
    for phase in mixture["PHASES"]:
        assert math.fsum(phase["probabilities"].values()) == 1.0
        assert min(phase["rows"].values()) > 0
