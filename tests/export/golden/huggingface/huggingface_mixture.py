"""A training mixture in phases for Hugging Face datasets, written by mixopt.

Rows are sequences of 128 tokens: pack the sources to that length first. Import `build` and
`rate_factor`, or run this file to count the rows of each phase.
"""

import math
from collections import Counter

from datasets import concatenate_datasets, interleave_datasets, load_dataset

SEED = 0

# A local file or glob (its ending names the loader), or the name of a dataset on the Hub.
SOURCES = {'web': '/d/web', 'code': '/d/code', 'books': '/d/books.jsonl'}

# Rows per source and the rows drawn from it before the phase starts; rates in rows, as fractions of
# the first peak (0.001).
PHASES = [{'name': 'base',
  'rows': {'web': 4480, 'code': 1920},
  'skip': {'web': 0, 'code': 0},
  'probabilities': {'web': 0.7, 'code': 0.3},
  'rate': [{'rows': 400, 'shape': 'linear', 'first': 0.0, 'last': 1.0},
           {'rows': 6000, 'shape': 'linear', 'first': 1.0, 'last': 1.0}]},
 {'name': 'the end!',
  'rows': {'web': 480, 'code': 480, 'books': 640},
  'skip': {'web': 4480, 'code': 1920, 'books': 0},
  'probabilities': {'web': 0.3, 'code': 0.3, 'books': 0.4},
  'rate': [{'rows': 160, 'shape': 'linear', 'first': 0.0, 'last': 0.5},
           {'rows': 640, 'shape': 'linear', 'first': 0.5, 'last': 0.5},
           {'rows': 50, 'shape': 'linear', 'first': 0.5, 'last': 0.3875},
           {'rows': 50, 'shape': 'linear', 'first': 0.3875, 'last': 0.340900974},
           {'rows': 50, 'shape': 'linear', 'first': 0.340900974, 'last': 0.305144284},
           {'rows': 50, 'shape': 'linear', 'first': 0.305144284, 'last': 0.275},
           {'rows': 50, 'shape': 'linear', 'first': 0.275, 'last': 0.248442353},
           {'rows': 50, 'shape': 'linear', 'first': 0.248442353, 'last': 0.224432404},
           {'rows': 50, 'shape': 'linear', 'first': 0.224432404, 'last': 0.202352978},
           {'rows': 50, 'shape': 'linear', 'first': 0.202352978, 'last': 0.181801948},
           {'rows': 50, 'shape': 'linear', 'first': 0.181801948, 'last': 0.1625},
           {'rows': 50, 'shape': 'linear', 'first': 0.1625, 'last': 0.144243763},
           {'rows': 50, 'shape': 'linear', 'first': 0.144243763, 'last': 0.126879711},
           {'rows': 50, 'shape': 'linear', 'first': 0.126879711, 'last': 0.110288568},
           {'rows': 50, 'shape': 'linear', 'first': 0.110288568, 'last': 0.094375482},
           {'rows': 50, 'shape': 'linear', 'first': 0.094375482, 'last': 0.079063544},
           {'rows': 50, 'shape': 'linear', 'first': 0.079063544, 'last': 0.064289374},
           {'rows': 50, 'shape': 'linear', 'first': 0.064289374, 'last': 0.05}]}]

LOADERS = {"jsonl": "json", "json": "json", "parquet": "parquet", "csv": "csv", "arrow": "arrow"}


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
    sources = sources or {name: load(path) for name, path in SOURCES.items()}
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
    marked = {
        name: load(path).map(lambda row, name=name: {"mixopt_domain": name})
        for name, path in SOURCES.items()
    }
    for index, phase in enumerate(PHASES):
        rows = build_phase(phase, marked, SEED + index)
        print(phase["name"], dict(Counter(row["mixopt_domain"] for row in rows)))
