"""Hugging Face ``datasets``: a script that builds the phases with ``interleave_datasets``.

Every source is skipped to its offset and cut to its quota before it is interleaved, and sources are
drawn until all quotas are used up. So each phase holds exactly its rows, whatever the seed, and the
next phase's offsets are true. ``all_exhausted`` would instead repeat the small sources until the
largest one ends (and never end at all with a zero weight).
"""

from __future__ import annotations

from typing import Any

from mixopt.export.export_plan import ExportPlan, PhasePlan
from mixopt.export.exporter import Exporter, Written
from mixopt.export.rate_plan import rate_stages
from mixopt.export.texts import phase_script

_SCRIPT = '''"""A training mixture in phases for Hugging Face datasets, written by mixopt.

Rows are sequences of {length} tokens: pack the sources to that length first. Import `build` and
`rate_factor`, or run this file to count the rows of each phase.
"""

import math
from collections import Counter

from datasets import concatenate_datasets, interleave_datasets, load_dataset

SEED = {seed}

# A local file or glob (its ending names the loader), or the name of a dataset on the Hub.
SOURCES = {sources}

# Rows per source and the rows drawn from it before the phase starts; rates in rows, as fractions of
# the first peak ({peak}).
PHASES = {phases}

LOADERS = {{"jsonl": "json", "json": "json", "parquet": "parquet", "csv": "csv", "arrow": "arrow"}}


def load(path):
    """One source as a stream of rows."""
    plain = path.removesuffix(".gz").removesuffix(".zst")
    loader = LOADERS.get(plain.rsplit(".", 1)[-1])
    if loader is None:
        return load_dataset(path, split="train", streaming=True)
    return load_dataset(loader, data_files=path, split="train", streaming=True)


def build_phase(phase, sources, seed=SEED):
    """One phase: exactly its rows of each source, in random order."""
    parts = [
        # A source shorter than its quota starts again from the beginning.
        sources[name].repeat(None).skip(phase["skip"][name]).take(rows)
        for name, rows in phase["rows"].items()
    ]
    if len(parts) == 1:
        return parts[0]
    return interleave_datasets(
        parts,
        probabilities=list(phase["probabilities"].values()),
        seed=seed,
        stopping_strategy="all_exhausted_without_replacement",
    )


def build(sources=None, seed=SEED):
    """The phases one after the other, as one stream."""
    sources = sources or {{name: load(path) for name, path in SOURCES.items()}}
    return concatenate_datasets(
        [build_phase(phase, sources, seed + index) for index, phase in enumerate(PHASES)]
    )


def rate_factor(row):
    """The rate after so many rows over the first peak: LambdaLR(opt, lambda s: ...(s * batch))."""
    last = 1.0
    for stage in (stage for phase in PHASES for stage in phase["rate"]):
        if row < stage["rows"]:
            through = row / stage["rows"]
            if stage["shape"] == "cosine":
                through = (1 - math.cos(math.pi * through)) / 2
            return stage["first"] + (stage["last"] - stage["first"]) * through
        row -= stage["rows"]
        last = stage["last"]
    return last


if __name__ == "__main__":
    marked = {{
        name: load(path).map(lambda row, name=name: {{"mixopt_domain": name}})
        for name, path in SOURCES.items()
    }}
    for index, phase in enumerate(PHASES):
        rows = build_phase(phase, marked, SEED + index)
        print(phase["name"], dict(Counter(row["mixopt_domain"] for row in rows)))
'''


def write(plan: ExportPlan) -> Written:
    """A script."""
    first = next((p.rate for p in plan.phases if p.rate), None)
    scale = first.scale if first else 1.0
    phases = [_phase(p, scale) for p in plan.phases]
    shown = first.peak_text if first else "your own"
    script = phase_script(_SCRIPT, plan, phases, peak=shown)
    peak = {"learning_rate": first.peak_text} if first else {}
    rates = [peak | {"rate_factor": p["rate"]} if p["rate"] else {} for p in phases]
    return Written(
        {"huggingface_mixture.py": script},
        tuple(rates),
        (
            "run huggingface_mixture.py to count the rows of each phase",
            "pass build() to Trainer as train_dataset, and rate_factor to a LambdaLR",
        ),
        (
            "Trainer skips the rows it has seen; ignore_data_skip=True starts the first phase anew",
            "Trainer shuffles no stream, so the phases keep their order",
        ),
        (
            "one row is one sequence; within a phase the last few rows come from the sources "
            "whose quotas are not yet used up",
        ),
    )


def _phase(phase: PhasePlan, scale: float) -> dict[str, Any]:
    rate = phase.rate
    stages = rate_stages(rate, phase.start, phase.end) if rate else []
    times = rate.scale / scale if rate else 1.0
    return {
        "name": phase.name,
        "rows": phase.quota,
        "skip": phase.offset,
        "probabilities": phase.weights(),
        "rate": [
            {
                "rows": s.units,
                "shape": s.shape,
                "first": round(s.first * times, 9),
                "last": round(s.last * times, 9),
            }
            for s in stages
        ],
    }


EXPORTER = Exporter(
    name="huggingface",
    aliases=("hf", "datasets", "hugging-face"),
    write=write,
    changes="one run",
    unit="rows",
    loaded="datasets 5.2.0, and Trainer of transformers 5.23.0",
    batch=False,
)
