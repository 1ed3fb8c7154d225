"""One surrogate from several sizes against the dearest rows alone and against pooling.

Every subset trains on some mixtures at a small size and a few of them at a large one, and predicts
the other mixtures at the large size. Prints a JSON list of rows. `python benchmarks/fidelities.py`
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from mixopt.bench import BenchTable, load_table
from mixopt.bench.tables import PARAMETERS
from mixopt.space import Fidelity, Layout
from mixopt.surrogate import (
    Prediction,
    SurrogateSettings,
    fidelity_agreement,
    fit_scale_surrogate,
    fit_surrogate,
)

Array = np.ndarray


@dataclass(frozen=True)
class Task:
    """Where to learn and what to predict; sizes in parameters, tokens 1 where not known."""

    table: str
    low: float
    high: float
    step: float
    cheap: int
    dear: int
    metrics: int


TASKS = (
    Task("redpajama", PARAMETERS["70M"], PARAMETERS["305M"], 20_000, 20, 4, 8),
    Task("redpajama", PARAMETERS["70M"], PARAMETERS["305M"], 20_000, 20, 10, 8),
    Task("pile3", PARAMETERS["160M"], PARAMETERS["410M"], 60_000, 6, 6, 3),
    Task("pile3", PARAMETERS["160M"], PARAMETERS["410M"], 60_000, 6, 12, 3),
    Task("regmix", 1e6, 6e7, 0, 64, 4, 13),
    Task("regmix", 1e6, 6e7, 0, 64, 16, 13),
)
EFFORT = SurrogateSettings(restarts=4, laws=("effective data",))


def at(table: BenchTable, size: float, step: float) -> tuple[Array, Array]:
    """Mixtures and losses of one fidelity."""
    there = (table.parameters == size) & (table.steps == step)
    rows = np.flatnonzero(there & np.isfinite(table.Y).all(1))
    return table.X[rows], table.Y[rows]


def judge(prediction: Prediction, Y: Array) -> dict[str, float]:
    """Figures of predictions against losses ``n x m``, means over metrics."""
    error = prediction.mean - Y
    ranks = [spearmanr(a, b)[0] for a, b in zip(prediction.mean.T, Y.T, strict=True)]
    unit = Y.std(0)
    return {
        "spearman": float(np.mean(ranks)),
        "mae": float(np.abs(error).mean()),
        "rmse_in_sds": float(np.sqrt(((error / unit) ** 2).mean())),
        "coverage95": float((np.abs(error) <= 1.96 * prediction.observation_sd).mean()),
    }


def run(task: Task, seed: int) -> list[dict[str, object]]:
    """Rows of one task and subset, one per method."""
    table = load_table(task.table)
    rng = np.random.default_rng(seed)
    (lowX, lowY), (X, Y) = (at(table, size, task.step) for size in (task.low, task.high))
    heavy = np.argsort([-table.weights.get(name, 0.0) for name in table.metrics], kind="stable")
    kept = np.sort(heavy[: task.metrics])
    metrics = [table.metrics[i] for i in kept]
    order = rng.permutation(len(X))
    dear, rest = order[: task.dear], order[task.dear :]
    # The nearest mixtures of the small size: the same ones, where a table has them.
    match = list(dict.fromkeys(int(np.abs(lowX - X[i]).sum(1).argmin()) for i in dear))
    others = [i for i in rng.permutation(len(lowX)) if i not in match]
    cheap = np.array(match + others[: task.cheap - len(match)])
    rows = np.vstack([lowX[cheap], X[dear]])
    losses = np.vstack([lowY[cheap], Y[dear]])[:, kept]
    sizes = np.repeat([task.low, task.high], [len(cheap), len(dear)])
    tokens = np.full(len(rows), max(task.step, 1.0) * 1_048_576)
    layout = Layout(X.shape[1])
    common = {"seed": seed, "settings": EFFORT}
    goal = Fidelity(parameters=int(task.high), tokens=int(tokens[0]))
    out = []
    for name in ("one model", "dearest rows only", "pooled", "cheap rows only"):
        began = time.perf_counter()
        if name == "one model":
            model = fit_scale_surrogate(
                layout, rows, sizes, tokens, losses, metrics, table.domains, target=goal, **common
            )
        else:
            used = {"pooled": slice(None), "dearest rows only": slice(len(cheap), None)}.get(
                name, slice(len(cheap))
            )
            model = fit_surrogate(
                layout, rows[used], losses[used], metrics, table.domains, **common
            )
        found = judge(model.predict(X[rest]), Y[rest][:, kept])
        seconds = round(time.perf_counter() - began, 1)
        head = {"table": task.table, "cheap": len(cheap), "dear": len(dear), "seed": seed}
        out.append({**head, "method": name, **found, "seconds": seconds})
        print(out[-1], file=sys.stderr, flush=True)
    return out


def agreement(name: str, step: float) -> list[dict[str, object]]:
    """Rank agreement of every two sizes of a table at one step."""
    table = load_table(name)
    rows = np.flatnonzero((table.steps == step) & np.isfinite(table.Y).all(1))
    part = table.take(rows)
    tokens = np.full(len(part), max(step, 1.0) * 1_048_576)
    return [
        {
            "table": name,
            "method": "rank agreement",
            "low": found.low.parameters,
            "high": found.high.parameters,
            "mixtures": found.mixtures,
            "spearman": found.spearman,
        }
        for found in fidelity_agreement(part.X, part.parameters, tokens, part.Y)
    ]


if __name__ == "__main__":
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
    found = [row for task in TASKS for seed in seeds for row in run(task, seed)]
    found += [*agreement("redpajama", 30_000), *agreement("regmix", 0)]
    print(json.dumps(found, indent=1))
