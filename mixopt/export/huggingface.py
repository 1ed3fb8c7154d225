"""Hugging Face ``datasets``: a script that builds the phases with ``interleave_datasets``.

Every source is skipped to its offset and cut to its quota before it is interleaved, and sources are
drawn until all quotas are used up. So each phase holds exactly its rows, whatever the seed, and the
next phase's offsets are true. ``all_exhausted`` would instead repeat the small sources until the
largest one ends (and never end at all with a zero weight).
"""

from __future__ import annotations

import json
from typing import Any

from mixopt.export.export_plan import ExportPlan, PhasePlan
from mixopt.export.tokens import token_report_text

_SCRIPT = '''"""A training mixture in phases for Hugging Face datasets, written by mixopt.

Rows are sequences of {length} tokens: pack the sources to that length first. Import `build`, or run
this file to count the rows of each phase.
"""

from collections import Counter

from datasets import concatenate_datasets, interleave_datasets, load_dataset

SEED = {seed}

# A local file or glob (its ending names the loader), or the name of a dataset on the Hub.
SOURCES = {sources}

# Rows per source and the rows drawn from it before the phase starts.
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


if __name__ == "__main__":
    marked = {{
        name: load(path).map(lambda row, name=name: {{"mixopt_domain": name}})
        for name, path in SOURCES.items()
    }}
    for index, phase in enumerate(PHASES):
        rows = build_phase(phase, marked, SEED + index)
        print(phase["name"], dict(Counter(row["mixopt_domain"] for row in rows)))
'''


def files(plan: ExportPlan) -> dict[str, str]:
    """File name to text: ``huggingface_mixture.py`` and the token report.

    Raises:
        ExportError: If a domain has no path or the sequence length is unknown.
    """
    paths = plan.need_paths("huggingface")
    length = plan.need_sequences("huggingface")
    script = _SCRIPT.format(
        length=length,
        seed=plan.seed,
        sources=_literal(paths),
        phases=_literal([_phase(p) for p in plan.phases]),
    )
    notes = (
        "one row is one sequence; within a phase the last few rows come from the sources whose "
        "quotas are not yet used up",
    )
    return {
        "huggingface_mixture.py": script,
        "huggingface_tokens.json": token_report_text(plan, "huggingface", notes),
    }


def _phase(phase: PhasePlan) -> dict[str, Any]:
    return {
        "name": phase.name,
        "rows": phase.quota,
        "skip": phase.offset,
        "probabilities": phase.weights(),
    }


def _literal(value: Any) -> str:
    # Strings, numbers, lists and dicts read the same in JSON and in Python.
    return json.dumps(value, indent=4)
