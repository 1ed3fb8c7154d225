"""From a schedule to a real run in another library, whose tokens are those of the report.

Needs ``pip install accelerate datasets transformers``. Run with a ``schedule.json`` of your own, or
without one: then a schedule written by hand over text that comes with Python. A small GPT-2 is
trained by the ``Trainer`` of transformers on what ``mixopt export --to huggingface`` writes.
"""

import json
import runpy
import sys
import sysconfig
import tempfile
from collections import Counter
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from mixopt.export import export_source, read_source
from mixopt.export.export_request import ExportRequest

LENGTH, BATCH, STEPS = 64, 8, 60
TEXT = {"python": "*.py", "data": "*/*.txt", "cpp": "*.h"}
BY_HAND = """
phases:
- {name: base, fraction: 0.8, mixture: {python: 0.6, cpp: 0.4}}
- {name: ending, fraction: 0.2, mixture: {python: 0.3, cpp: 0.3, data: 0.4}}
tokens: 1000000
learning_rate: {peak: 3.0e-3, warmup: 0.1, decay: 0.3}
"""


def write_rows(path: Path, index: int, pattern: str) -> None:
    """Bytes of a folder of Python's as rows of ``LENGTH`` tokens."""
    places = [Path(sysconfig.get_path(name)) for name in ("stdlib", "include")]
    files = sorted(file for place in places for file in place.glob(pattern))
    text = b"".join(file.read_bytes() for file in files[:40])[: LENGTH * (400 + index)]
    rows = (text[i : i + LENGTH] for i in range(0, len(text) - LENGTH + 1, LENGTH))
    path.write_text("".join(json.dumps({"domain": path.stem, "ids": list(r)}) + "\n" for r in rows))


def exported(source: Path, folder: Path) -> tuple[dict, dict]:
    """The script and the report of a schedule, with rows for each of its domains."""
    found = read_source(source)
    patterns = list(TEXT.values())
    paths = {}
    for index, name in enumerate(found.schedule.domains):
        path = folder / f"{name.replace('/', '_')}.jsonl"
        write_rows(path, index, TEXT.get(name, patterns[index % len(patterns)]))
        paths[name] = str(path)
    request = ExportRequest(
        to="huggingface", tokens=LENGTH * BATCH * STEPS, sequence_length=LENGTH, paths=paths
    )
    export_source(found, request, folder)
    report = json.loads((folder / "huggingface_report.json").read_text())
    return runpy.run_path(str(folder / "huggingface_mixture.py")), report


def train(script: dict) -> tuple[list[str], float, float]:
    """Train on the stream; the domain of every row consumed, and the first and last loss."""
    consumed: list[str] = []

    def collate(rows: list[dict]) -> dict:
        consumed.extend(row["domain"] for row in rows)
        ids = torch.tensor([row["ids"] for row in rows])
        return {"input_ids": ids, "labels": ids}

    torch.manual_seed(0)
    shape = GPT2Config(vocab_size=256, n_positions=LENGTH, n_embd=32, n_layer=2, n_head=2)
    model = GPT2LMHeadModel(shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    factor = script["rate_factor"]
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step * BATCH))
    with tempfile.TemporaryDirectory() as out:
        settings = TrainingArguments(
            out,
            max_steps=STEPS,
            per_device_train_batch_size=BATCH,
            remove_unused_columns=False,
            report_to=[],
            save_strategy="no",
            logging_steps=10,
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = Trainer(
            model,
            settings,
            data_collator=collate,
            train_dataset=script["build"](),
            optimizers=(optimizer, rates),
        )
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return consumed, losses[0], losses[-1]


def main() -> None:
    """Export, train, compare."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        source = Path(sys.argv[1]) if len(sys.argv) > 1 else folder / "by_hand.yaml"
        if len(sys.argv) == 1:
            source.write_text(BY_HAND)
        script, report = exported(source, folder)
        consumed, first, last = train(script)
    at = 0
    for phase in report["phases"]:
        rows = Counter(consumed[at : at + phase["sequences"]])
        at += phase["sequences"]
        for name, row in phase["domains"].items():
            tokens = rows[name.replace("/", "_")] * LENGTH
            print(f"{phase['name']:>8} {name:<8} {tokens:>7,} tokens consumed")
            assert tokens == row["tokens"], (phase["name"], name, tokens, row["tokens"])
    assert at == len(consumed)
    print(f"loss {first:.3f} -> {last:.3f}")
    assert last < first


if __name__ == "__main__":
    main()
