"""Formats whose trainers are too heavy to install: structure, sums and boundaries."""

import json
import math

import pytest
import yaml

from mixopt.errors import ExportError
from mixopt.export import export
from mixopt.space import LearningRate, Schedule

SCHEDULE = Schedule.two_phase(
    {"web": 0.7, "code": 0.3, "books": 0.0},
    {"web": 0.3, "code": 0.3, "books": 0.4},
    0.2,
    LearningRate(peak=1e-5, warmup=0.01, decay=0.2, final=0.1),
)
PATHS = {"web": "/d/web", "code": "/d/code", "books": "/d/books"}
# 10,240 sequences: the first phase ends after 8,192, a multiple of 2,048.
MORE = {"tokens": 128 * 10_240, "paths": PATHS, "sequence_length": 128, "batch": 16}
OTHERS = ("olmo-core", "llm-foundry", "levanter", "nanotron", "maxtext")


def written(out, to, schedule=SCHEDULE, **more):
    paths = export(schedule, to=to, out=out, **{**MORE, **more})
    return {p.name: yaml.safe_load(p.read_text()) for p in paths}


@pytest.mark.parametrize("to", OTHERS)
def test_what_is_missing_is_named(tmp_path, to):
    with pytest.raises(ExportError, match="path of every domain"):
        written(tmp_path, to, paths={})
    with pytest.raises(ExportError, match="needs their length"):
        written(tmp_path, to, sequence_length=None)


@pytest.mark.parametrize("to", ["levanter", "nanotron"])
def test_trainers_that_count_steps_need_the_batch(tmp_path, to):
    with pytest.raises(ExportError, match=f"the {to} export counts steps and needs the batch"):
        written(tmp_path, to, batch=None)


def test_olmo_core(tmp_path):
    files = written(tmp_path, "olmo-core", supply={"books": 65_536})
    base, ending = (
        files[f"olmo-core_{name}.yaml"]["sources"] for name in ("phase1_base", "phase2_ending")
    )
    assert [s["source_name"] for s in base] == ["web", "code"]
    assert math.fsum(s["target_ratio"] for s in ending) == 1.0
    assert ending[2]["paths"] == ["/d/books"]
    # 819 sequences of books where there are 512.
    assert 819 / 512 < ending[2]["max_repetition_ratio"] < 819 / 512 + 0.03
    assert "max_repetition_ratio" not in ending[0]
    head = (tmp_path / "olmo-core_phase2_ending.yaml").read_text()
    assert "# requested_tokens: 262144\n# global_batch_size: 2048\n" in head


def test_llm_foundry(tmp_path):
    config = written(tmp_path, "llm-foundry")["llm-foundry_data.yaml"]
    callback = config["callbacks"]["curriculum_learning"]
    durations = [callback["duration"], *(s["duration"] for s in callback["schedule"])]
    assert sum(int(d.removesuffix("tok")) for d in durations) == 128 * 10_240
    assert config["max_duration"] == f"{128 * 10_240}tok"
    assert list(config["train_loader"]["dataset"]["streams"]) == ["web", "code"]
    later = callback["schedule"][0]["dataset"]["streams"]
    assert math.fsum(s["proportion"] for s in later.values()) == 1.0
    assert later["books"]["local"] == "/d/books"
    alone = written(tmp_path, "llm-foundry", Schedule.static({"web": 1.0}))
    assert "callbacks" not in alone["llm-foundry_data.yaml"]


def test_levanter(tmp_path):
    config = written(tmp_path, "levanter")["levanter_data.yaml"]
    data = config["data"]
    assert data["mixture_block_size"] == 2048
    assert [start for start, _ in data["train_weights"]] == [0, 512]
    assert data["train_weights"][0][1]["books"] == 0.0
    assert all(math.fsum(w.values()) == 1.0 for _, w in data["train_weights"])
    assert data["components"]["books"]["source"]["train_urls"] == ["/d/books"]
    assert config["trainer"]["num_train_steps"] == 640
    assert config["optimizer"] == {
        "learning_rate": 1e-5,
        "warmup": 0.01,
        "lr_schedule": "linear",
        "min_lr_ratio": 0.1,
        "decay": 0.2,
    }


def test_levanter_never_loses_a_source_silently(tmp_path):
    # The boundary after 8,208 sequences divides by 16 only.
    odd = {"tokens": 128 * 10_256}
    config = written(tmp_path, "levanter", **odd)["levanter_data.yaml"]["data"]
    start = config["train_weights"][1][0] * 16
    assert start % 2048 != 0
    assert start % config["mixture_block_size"] == 0
    rare = Schedule.two_phase({"web": 0.97, "code": 0.03}, {"web": 0.5, "code": 0.5}, 0.2)
    with pytest.raises(ExportError, match=r"'code' with weight 0\.03 in phase 'base' would never"):
        written(tmp_path / "b", "levanter", rare, **odd)
    assert not (tmp_path / "b").exists()


def test_nanotron(tmp_path):
    files = written(tmp_path, "nanotron")
    first = files["nanotron_phase1_base.yaml"]
    second = files["nanotron_phase2_ending.yaml"]
    assert second["data_stages"][:1] == first["data_stages"]
    assert [s["start_training_step"] for s in second["data_stages"]] == [1, 513]
    assert (first["tokens"]["train_steps"], second["tokens"]["train_steps"]) == (512, 640)
    dataset = second["data_stages"][1]["data"]["dataset"]
    assert dataset["dataset_folder"] == ["/d/web", "/d/code", "/d/books"]
    assert math.fsum(dataset["dataset_weights"]) == 1.0


def test_maxtext(tmp_path):
    export(SCHEDULE, to="maxtext", out=tmp_path, **MORE)
    base = json.loads((tmp_path / "maxtext_phase1_base.json").read_text())
    assert list(base) == ["web", "code"]
    assert base["web"]["path"] == "/d/web"
    assert math.fsum(s["weight"] for s in base.values()) == 1.0
    notes = json.loads((tmp_path / "maxtext_tokens.json").read_text())["notes"]
    assert "phase 'base' ends at step 512" in notes
