"""Datasets listed and merged by LLaMA-Factory, as its trainer's loader does."""

import dataclasses
import json
from collections import Counter
from itertools import islice

import datasets
import yaml
from common import FOLDER, REPORT, answer, phases, stand_in, token_of

stand_in("torchaudio")

from llamafactory.data.data_utils import merge_dataset
from llamafactory.data.parser import get_dataset_list
from llamafactory.hparams.data_args import DataArguments
from transformers import SchedulerType

for name in token_of:
    rows = (json.dumps({"text": name}) + "\n" for _ in range(300))
    (FOLDER / "data" / f"{name}.jsonl").write_text("".join(rows))
known = {field.name for field in dataclasses.fields(DataArguments)}
drawn = []
for slug, phase in phases():
    config = yaml.safe_load((FOLDER / f"llama-factory_{slug}.yaml").read_text())
    assert config["max_steps"] * REPORT["batch"] == phase["sequences"]
    SchedulerType(config["lr_scheduler_type"])
    data_args = DataArguments(**{k: v for k, v in config.items() if k in known})
    data_args.dataset_dir = str(FOLDER)
    parts = [
        datasets.load_dataset("json", data_files=part.dataset_name, split="train", streaming=True)
        for part in get_dataset_list(data_args.dataset, data_args.dataset_dir)
    ]
    merged = merge_dataset(parts, data_args, seed=config["seed"])
    # Enough rows for the phase: the merged stream ends when every source was read.
    rows = list(islice(merged, phase["sequences"]))
    scale = phase["sequences"] / len(rows)
    counts = Counter(row["text"] for row in rows)
    drawn.append({name: round(count * scale) for name, count in counts.items()})
answer(drawn)
