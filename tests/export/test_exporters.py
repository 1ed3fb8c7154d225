"""Every exporter: the contract, golden files, and the writer around them."""

import json
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import yaml

from mixopt.errors import ExportError
from mixopt.export import (
    EXPORTERS,
    Exporter,
    Written,
    export,
    export_file,
    exporter_of,
    exporters,
    read_schedule_file,
    write_files,
)
from mixopt.space import LearningRate, Phase, Schedule
from mixopt.testing import EXPORTER_CONTRACT

GOLDEN = Path(__file__).parent / "golden"
SCHEDULE = Schedule(
    phases=(
        Phase(name="base", fraction=0.8, mixture={"web": 0.7, "code": 0.3, "books": 0.0}),
        Phase(
            name="the end!",
            fraction=0.2,
            mixture={"web": 0.3, "code": 0.3, "books": 0.4},
            learning_rate=LearningRate(peak=5e-4, warmup=0.1, decay=0.5, shape="sqrt", final=0.1),
        ),
    ),
    learning_rate=LearningRate(peak=1e-3, warmup=0.05, decay=0.2),
)
MORE = {
    "tokens": 128 * 16 * 500,
    "paths": {"web": "/d/web", "code": "/d/code", "books": "/d/books.jsonl"},
    "supply": {"books": 65_536},
    "sequence_length": 128,
    "batch": 16,
}


@pytest.mark.parametrize("check", EXPORTER_CONTRACT, ids=lambda check: check.__name__)
@pytest.mark.parametrize("to", EXPORTERS)
def test_contract(to, check):
    if to == "schedule" and check.__name__ == "names_every_path_and_no_other":
        pytest.skip("domains without weight have paths in schedule.json too")
    check(exporter_of(to))


@pytest.mark.parametrize("to", EXPORTERS)
def test_golden_files(tmp_path, to):
    """Regenerate with: python tests/export/test_exporters.py"""
    written = {p.name: p.read_text() for p in export(SCHEDULE, to=to, out=tmp_path, **MORE)}
    kept = {p.name: p.read_text() for p in (GOLDEN / to).iterdir()}
    assert written == kept


@pytest.mark.parametrize("to", EXPORTERS)
def test_structured_files_load(tmp_path, to):
    for path in export(SCHEDULE, to=to, out=tmp_path, **MORE):
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix in (".yaml", ".yml"):
            yaml.safe_load(path.read_text())
        elif path.suffix == ".py":
            compile(path.read_text(), path, "exec")


@pytest.mark.parametrize("to", EXPORTERS)
def test_a_schedule_file_exports_as_its_study_did(tmp_path, to):
    kept = export(SCHEDULE, to="schedule", out=tmp_path / "s", **MORE)[0]
    direct = export(SCHEDULE, to=to, out=tmp_path / "a", **MORE)
    again = export_file(kept, to=to, out=tmp_path / "b", batch=16)
    assert [p.read_text() for p in again] == [p.read_text() for p in direct]


def test_aliases_and_unknown_names(tmp_path):
    assert exporter_of("olmo_core") is exporter_of("olmo-core")
    assert exporter_of("hf").name == "huggingface"
    with pytest.raises(ExportError, match="did you mean 'megatron'"):
        export(SCHEDULE, to="megatronn", out=tmp_path, **MORE)


@pytest.mark.parametrize("to", ["megatron", "huggingface", "levanter"])
def test_what_is_missing_is_named_and_nothing_is_written(tmp_path, to):
    out = tmp_path / "out"
    with pytest.raises(ExportError, match=r"path of every domain in use; \['books'\] have none"):
        export(SCHEDULE, to=to, out=out, **{**MORE, "paths": {"web": "a", "code": "b"}})
    with pytest.raises(ExportError, match="counts sequences and needs their length"):
        export(SCHEDULE, to=to, out=out, **{**MORE, "sequence_length": None})
    if to != "huggingface":
        with pytest.raises(ExportError, match=f"the {to} export counts steps and needs the batch"):
            export(SCHEDULE, to=to, out=out, **{**MORE, "batch": None})
    assert not out.exists()


@pytest.mark.parametrize("to", [e for e in EXPORTERS if e != "schedule"])
def test_placeholders_only_where_they_are_asked_for(tmp_path, to):
    known = {**MORE, "paths": {"web": "/d/web"}}
    export(SCHEDULE, to=to, out=tmp_path, placeholders=True, **known)
    report = json.loads((tmp_path / f"{to}_report.json").read_text())
    assert {"PATH_OF_code", "PATH_OF_books"} <= set(report["fill_in"])
    assert "PATH_OF_web" not in report["fill_in"]


def test_no_path_is_invented(tmp_path):
    export(SCHEDULE, to="schedule", out=tmp_path, **{**MORE, "paths": {}})
    domains = json.loads((tmp_path / "schedule.json").read_text())["domains"]
    assert {d["path"] for d in domains.values()} == {None}


@pytest.mark.parametrize("to", [e.name for e in map(exporter_of, EXPORTERS) if e.batch])
def test_rates_of_trials_are_not_written_for_the_target(tmp_path, to):
    """The peak and the warm-up that the proxy trained with are not those of the target."""
    export(SCHEDULE, to=to, out=tmp_path, of_trials=("peak", "warmup"), **MORE)
    report = json.loads((tmp_path / f"{to}_report.json").read_text())
    assert {"PEAK_LEARNING_RATE", "WARMUP"} & set(report["fill_in"])
    rates = json.dumps([phase["learning_rate"] for phase in report["phases"]])
    assert "0.001" not in rates
    given = LearningRate(peak=3e-5, warmup=0.01, decay=0.2)
    export(SCHEDULE, to=to, out=tmp_path, of_trials=("peak", "warmup"), learning_rate=given, **MORE)
    report = json.loads((tmp_path / f"{to}_report.json").read_text())
    assert not {"PEAK_LEARNING_RATE", "WARMUP"} & set(report["fill_in"])
    # The second phase keeps its ratio of one half.
    rates = json.dumps([phase["learning_rate"] for phase in report["phases"]])
    assert "1.5e-05" in rates or to in ("llm-foundry", "levanter")


def test_rounding_to_whole_steps_is_reported(tmp_path):
    export(SCHEDULE, to="megatron", out=tmp_path, **{**MORE, "tokens": MORE["tokens"] + 100})
    report = json.loads((tmp_path / "megatron_report.json").read_text())
    assert report["tokens"] == MORE["tokens"]
    assert "nearest whole number of 2,048-token steps" in " ".join(report["notes"])


def test_a_longer_sequence_for_the_target(tmp_path):
    kept = export(SCHEDULE, to="schedule", out=tmp_path / "s", **MORE)[0]
    longer = export_file(kept, to="schedule", out=tmp_path / "c", sequence_length=256)[0]
    assert read_schedule_file(longer).sequence_length == 256


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        write_files({"a.txt": "a"}, tmp_path / "file")


MINE = Exporter(
    name="mine",
    write=lambda plan: Written(
        {"mine.txt": "\n".join(f"{n} {plan.paths[n]}" for n in plan.domains) + "\n"}
    ),
    changes="one run",
    unit="tokens",
    loaded="nothing",
)


def offer(monkeypatch, value):
    point = EntryPoint("mine", value, "mixopt.exporters")
    monkeypatch.setattr("mixopt.export.registry.entry_points", lambda **_: [point])
    exporters.cache_clear()


@pytest.fixture(autouse=True)
def _fresh():
    yield
    exporters.cache_clear()


def test_another_package_adds_an_exporter(tmp_path, monkeypatch):
    offer(monkeypatch, f"{__name__}:MINE")
    export(SCHEDULE, to="mine", out=tmp_path, **MORE)
    assert (tmp_path / "mine.txt").read_text().startswith("web /d/web\n")
    for check in EXPORTER_CONTRACT:
        check(MINE)


@pytest.mark.parametrize(
    ("value", "message"),
    [("nowhere:MINE", "cannot be loaded"), (f"{__name__}:MORE", "must name an Exporter")],
)
def test_a_broken_entry_point_is_named(monkeypatch, value, message):
    offer(monkeypatch, value)
    with pytest.raises(ExportError, match=message):
        exporters()


if __name__ == "__main__":
    for name in EXPORTERS:
        export(SCHEDULE, to=name, out=GOLDEN / name, **MORE)
