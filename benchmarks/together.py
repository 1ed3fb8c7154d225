"""Coverage of 95 % intervals for the mean of all metrics, with and without what errors share.

python benchmarks/together.py --json benchmarks/results/together.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from mixopt.bench.tables import BenchTable, load_table
from mixopt.laws._arrays import Array
from mixopt.space import Layout
from mixopt.surrogate import fit_surrogate

SIZES = {"regmix": (24, 64), "redpajama": (14, 24), "pile3": (10, 16)}


def inside(table: BenchTable, n: int, seed: int) -> tuple[float, float]:
    """Shares of unseen runs inside the interval: errors taken together, and as if independent."""
    pool = np.flatnonzero(table.role != "test")
    order = np.random.default_rng(seed).permutation(pool)[:n]
    seen, rest = table.take(order), table.take(np.setdiff1d(np.arange(len(table)), order))
    layout = Layout(len(table.domains))
    fitted = fit_surrogate(layout, seen.X, seen.Y, seen.metrics, seen.domains, seed=seed)
    found = fitted.predict(rest.X)
    error = np.abs((rest.Y - found.mean).mean(1))

    def share(R: Array) -> float:
        sd = found.observation_sd / len(table.metrics)
        return float((error <= 1.96 * np.sqrt(((sd @ R) * sd).sum(1))).mean())

    return share(fitted.correlation), share(np.eye(len(table.metrics)))


def main() -> None:
    """Print the rows, and keep them if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = []
    for name, sizes in SIZES.items():
        table = load_table(name).densest()
        for n in sizes:
            found = np.mean([inside(table, n, seed) for seed in range(given.repeats)], axis=0)
            together, alone = (round(float(v), 3) for v in found)
            rows.append({"table": name, "train": n, "together": together, "independent": alone})
            print(json.dumps(rows[-1]), flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
