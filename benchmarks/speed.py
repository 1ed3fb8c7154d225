"""Seconds of what a user waits for: a fit, a batch of proposals, and a space of many domains.

The first rows are RegMix' (17 domains, 13 metrics); the many domains are simulated, as no table has
so many. Wall-clock and processor seconds, the least of the repeats; run it on a quiet machine.

    OMP_NUM_THREADS=1 python benchmarks/speed.py --json benchmarks/results/speed.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mixopt.bench.tables import BenchTable, load_table
from mixopt.propose import Evidence, propose_batch
from mixopt.space import Domain, Layout, Mixture, Objective, SearchSpace
from mixopt.surrogate import Surrogate, fit_surrogate

Row = dict[str, object]


def timed(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Least wall-clock and processor seconds."""
    wall, cpu = [], []
    for _ in range(repeats):
        begun, used = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - used)
    return min(wall), min(cpu)


def regmix(n: int) -> BenchTable:
    """The first n of a fixed shuffle of the training mixtures."""
    table = load_table("regmix").densest()
    return table.take(np.random.default_rng(0).permutation(512)[:n])


def simulated(domains: int, n: int, metrics: int) -> BenchTable:
    """Losses that fall with the share of their own domain and of one other."""
    rng = np.random.default_rng(0)
    X = rng.dirichlet(np.full(domains, 0.3), n)
    own = X[:, :metrics] + 0.3 * X[:, metrics : 2 * metrics]
    Y = 2.5 + 1.5 * np.exp(-8.0 * own) + 0.01 * rng.standard_normal((n, metrics))
    names = tuple(f"d{j:03d}" for j in range(domains))
    zeros = np.zeros(n)
    return BenchTable(
        name="simulated",
        X=X,
        Y=Y,
        metrics=names[:metrics],
        domains=names,
        ids=tuple(map(str, range(n))),
        role=np.full(n, "any"),
        parameters=zeros,
        steps=zeros,
    )


def fitted(table: BenchTable) -> Surrogate:
    """The surrogate a study uses."""
    layout = Layout(len(table.domains))
    return fit_surrogate(layout, table.X, table.Y, table.metrics, table.domains)


def proposing(table: BenchTable, q: int) -> Callable[[], object]:
    """Fit once, then propose q schedules that minimise the mean of all metrics."""
    model = fitted(table)
    space = SearchSpace(
        domains=tuple(Domain(name=name) for name in table.domains),
        baseline=Mixture.uniform(table.domains),
    )
    objective = Objective(weights={k: 1 / len(table.metrics) for k in table.metrics})
    seen = Evidence(table.X, table.Y, table.metrics, table.ids)
    return lambda: propose_batch(space, objective, model, seen, q, seed=0)


def main() -> None:
    """Print the rows, and keep them if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    few, many, wide = regmix(64), regmix(128), simulated(168, 64, 13)
    tasks: dict[str, Callable[[], object]] = {
        "fit, 17 domains, 13 metrics, n = 64": lambda: fitted(few),
        "fit, 17 domains, 13 metrics, n = 128": lambda: fitted(many),
        "propose 8, 17 domains, 13 metrics, n = 64": proposing(few, 8),
        "fit, 168 domains, 13 metrics, n = 64": lambda: fitted(wide),
        "propose 8, 168 domains, 13 metrics, n = 64": proposing(wide, 8),
    }
    rows: list[Row] = []
    for name, work in tasks.items():
        wall, cpu = timed(work, given.repeats)
        rows.append({"task": name, "seconds": round(wall, 2), "cpu_seconds": round(cpu, 2)})
        print(f"{name:44} {wall:7.2f} s {cpu:7.2f} s of processor")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
