"""How far predictions hold: the same ratios of distance, on every table that has the runs.

Each target is predicted by `mixopt bench extrapolate` from smaller sizes and earlier steps; a
coverage counts targets, since the mixtures of one share most of its error. Prints a JSON list of
rows. `python benchmarks/distance.py`
"""

from __future__ import annotations

import json
import sys

import numpy as np

from mixopt.bench import extrapolate, load_table

#: Kind, table, largest size and latest step trained on, and the targets.
TASKS = (
    ("3x in steps from 30k", "pile5", "160M", 30_000, [("70M", 90_000), ("160M", 90_000)]),
    ("2x in steps from 30k", "pile5", "160M", 30_000, [("70M", 60_000), ("160M", 60_000)]),
    ("2x in steps from 30k", "pile3", "160M", 30_000, [("70M", 60_000), ("160M", 60_000)]),
    ("3x in steps from 20k", "pile3", "160M", 20_000, [("70M", 60_000), ("160M", 60_000)]),
    ("3x in steps from 10k", "pile5", "160M", 10_000, [("70M", 30_000), ("160M", 30_000)]),
    ("3x in steps from 10k", "pile2", "160M", 10_000, [("70M", 30_000), ("160M", 30_000)]),
    ("3x in steps from 10k", "pile3", "160M", 10_000, [("160M", 30_000)]),
    ("3x in steps from 10k", "redpajama", "160M", 10_000, [("70M", 30_000), ("160M", 30_000)]),
    ("10x in steps from 9k", "pile5", "160M", 9_000, [("70M", 90_000), ("160M", 90_000)]),
    ("10x in steps from 6k", "pile3", "160M", 6_000, [("70M", 60_000), ("160M", 60_000)]),
    ("size", "redpajama", "160M", 30_000, [("305M", 30_000), ("410M", 30_000)]),
    ("size from one", "redpajama", "70M", 30_000, [("160M", 30_000)]),
    ("size from one", "pile5", "70M", 30_000, [("160M", 30_000)]),
    ("size from one", "pile2", "70M", 30_000, [("160M", 30_000)]),
    ("size and steps", "redpajama", "160M", 10_000, [("305M", 30_000), ("410M", 30_000)]),
    ("size and steps", "redpajama", "305M", 20_000, [("410M", 30_000)]),
)
METHODS = ("mixopt", "mixopt-unknown-rule")


def main() -> None:
    """Predict every target and print what came of it."""
    rows = []
    for kind, name, train_size, train_step, targets in TASKS:
        table = load_table(name)
        for size, step in targets:
            found = extrapolate(
                table,
                train_size=train_size,
                train_step=train_step,
                size=size,
                step=step,
                methods=METHODS,
            )
            told = {"kind": kind, "table": name, "train_size": train_size, "train_step": train_step}
            rows += [told | row for row in found]
            print(*rows[-2].values(), file=sys.stderr)
    json.dump(rows, sys.stdout, indent=1)
    for method in METHODS:
        own = [r for r in rows if r["method"] == method]
        inside = [abs(r["bias"]) <= 1.96 * r["sd"] for r in own]
        pairs = [r for r in own if r["difference_coverage95"] is not None]
        apart = np.mean([r["difference_coverage95"] for r in pairs])
        print(method, "targets inside", np.mean(inside), "differences", apart, file=sys.stderr)


if __name__ == "__main__":
    main()
