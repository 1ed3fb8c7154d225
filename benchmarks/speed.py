"""Seconds of what a user waits for: a fit, a batch of proposals, and a space of many domains.

The first rows are RegMix' (17 domains, 13 metrics), and the sizes and lengths RedPajama's; many
domains and many mixtures are simulated, as no table has so many. Wall-clock and processor seconds,
the least of the repeats; run it on a quiet machine.

    OMP_NUM_THREADS=1 python benchmarks/speed.py --json benchmarks/results/speed.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import mixopt
from mixopt.bench.tables import STEP_TOKENS, TABLE_RULE, BenchTable, load_table
from mixopt.propose import Evidence, propose_batch
from mixopt.space import Domain, Fidelity, Layout, Mixture, Objective, SearchSpace
from mixopt.surrogate import Surrogate, fit_scale_surrogate, fit_surrogate

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
    at = np.arange(metrics)
    own = X[:, at % domains] + 0.3 * X[:, (at + metrics) % domains]
    Y = 2.5 + 1.5 * np.exp(-8.0 * own) + 0.01 * rng.standard_normal((n, metrics))
    names = tuple(f"d{j:03d}" for j in range(max(domains, metrics)))
    zeros = np.zeros(n)
    return BenchTable(
        name="simulated",
        X=X,
        Y=Y,
        metrics=names[:metrics],
        domains=names[:domains],
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


def curves(n: int) -> Callable[[], object]:
    """Fit the first n checkpoints of RedPajama, for a target beyond all of them."""
    table = load_table("redpajama")
    table = table.take(
        np.flatnonzero(np.isfinite(table.X).all(1) & np.isfinite(table.Y).all(1))[:n]
    )
    names = [name.rsplit("-", 1)[0] for name in table.ids]
    runs = np.unique(names, return_inverse=True)[1]
    target = Fidelity(parameters=805_736_448, tokens=100_000 * STEP_TOKENS)
    rows = table.X, table.parameters, table.tokens, table.Y, table.metrics, table.domains
    layout = Layout(len(table.domains))
    return lambda: fit_scale_surrogate(layout, *rows, target=target, runs=runs, rule=TABLE_RULE)


def whole_table(domains: int, n: int, metrics: int) -> Callable[[], object]:
    """`mixopt.fit` of a table of n mixtures, recommendation included."""
    table = simulated(domains, n, metrics)
    weights = pd.DataFrame(table.X, columns=list(table.domains))
    losses = pd.DataFrame(table.Y, columns=list(table.metrics))
    weights["run"] = losses["run"] = table.ids
    objective = dict.fromkeys(table.metrics, 1 / metrics)
    return lambda: mixopt.fit(weights, losses, objective=objective)


def main() -> None:
    """Print the rows, and keep them if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", help="text that a task's name must hold")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    few, many = regmix(64), regmix(128)
    wide = simulated(168, 64, 13)
    tasks: dict[str, Callable[[], object]] = {
        "fit, 17 domains, 13 metrics, n = 64": lambda: fitted(few),
        "fit, 17 domains, 13 metrics, n = 128": lambda: fitted(many),
        "propose 8, 17 domains, 13 metrics, n = 64": proposing(few, 8),
        "fit, 168 domains, 13 metrics, n = 64": lambda: fitted(wide),
        "propose 8, 168 domains, 13 metrics, n = 64": proposing(wide, 8),
        "sizes and lengths, 7 domains, 22 metrics, n = 480": curves(480),
        "fit and recommend, 20 domains, 50 metrics, n = 5,000": whole_table(20, 5000, 50),
    }
    if given.only:
        tasks = {name: work for name, work in tasks.items() if given.only in name}
    rows: list[Row] = []
    for name, work in tasks.items():
        wall, cpu = timed(work, given.repeats)
        rows.append({"task": name, "seconds": round(wall, 2), "cpu_seconds": round(cpu, 2)})
        print(f"{name:44} {wall:7.2f} s {cpu:7.2f} s of processor")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
