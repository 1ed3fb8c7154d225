"""Does the chosen schedule come out as predicted? Studies on tables of real runs.

Each study learns from random rows of a table, chooses among the rows it has not seen by the rule of
a recommendation, and is told what the chosen row really gave. Per objective: the mean of truth less
prediction (above 0 where predictions are too good to be true) with its standard error, the
optimism that replays of the study foresaw, and how often the truth of the chosen row, one noisy
run, lay in the 95 % interval as predicted and as corrected.

    python benchmarks/winners_curse.py --json benchmarks/results/winners_curse.json
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixopt.bench.tables import BenchTable, load_table
from mixopt.propose import Estimate, Evidence
from mixopt.propose.assess.winners_curse import replay
from mixopt.propose.problem import Problem
from mixopt.space import Domain, Layout, Mixture, Objective, SearchSpace
from mixopt.surrogate import fit_surrogate

TABLES = {"regmix": 24, "redpajama": 20, "pile3": 12}
REPLAYS = 12


@dataclass(frozen=True)
class Outcome:
    """One study: truth less prediction, what replays foresaw, and which interval held the truth."""

    gap: float
    foreseen: float
    inside: bool
    inside_corrected: bool


def objectives(table: BenchTable) -> dict[str, Objective]:
    """The mean of all metrics, and four of them alone."""
    every = {name: 1 / len(table.metrics) for name in table.metrics}
    alone = table.metrics[:: max(1, len(table.metrics) // 4)][:4]
    return {"mean": Objective(weights=every), **{k: Objective(weights={k: 1.0}) for k in alone}}


def space_of(table: BenchTable) -> SearchSpace:
    """The whole simplex; the baseline is the mean of the table's mixtures."""
    mean = dict(zip(table.domains, table.X.mean(0).tolist(), strict=True))
    domains = tuple(Domain(name=name) for name in table.domains)
    return SearchSpace(domains=domains, baseline=Mixture.normalized(mean))


def study(table: BenchTable, n: int, seed: int) -> dict[str, Outcome]:
    """What one study says of its choice, and what came true, per objective."""
    order = np.random.default_rng(seed).permutation(len(table))
    seen, rest = table.take(order[:n]), table.take(order[n:])
    rows = seen.X, seen.Y, seen.metrics
    fitted = fit_surrogate(Layout(len(table.domains)), *rows, table.domains, seed=seed)
    out = {}
    for name, objective in objectives(table).items():
        evidence = Evidence(*rows, seen.ids)
        problem = Problem.of(space_of(table), objective, fitted, evidence).narrowed()
        menu = rest.X[:, problem.there]
        mean, sd = problem.expected(menu)
        chosen = int(np.argmin(mean + sd))
        true = float(objective.coefficients(list(table.metrics)) @ rest.Y[chosen])
        found = replay(problem, menu, replays=REPLAYS, caution=1.0, seed=seed)
        plain = Estimate.of(float(mean[chosen]), float(np.hypot(sd[chosen], problem.noise)))
        better = found.correct(Estimate.of(float(mean[chosen]), float(sd[chosen])))
        wide = 1.96 * np.hypot(better.sd, problem.noise)
        out[name] = Outcome(
            gap=true - float(mean[chosen]),
            foreseen=found.mean,
            inside=plain.low <= true <= plain.high,
            inside_corrected=bool(abs(true - better.mean) <= wide),
        )
    return out


def summary(table: str, name: str, found: list[Outcome]) -> dict[str, object]:
    """Means over the studies."""
    gaps = np.array([one.gap for one in found])
    return {
        "table": table,
        "objective": name,
        "studies": len(found),
        "gap": round(float(gaps.mean()), 5),
        "standard_error": round(float(gaps.std(ddof=1) / len(gaps) ** 0.5), 5),
        "foreseen": round(float(np.mean([one.foreseen for one in found])), 5),
        "inside": float(np.mean([one.inside for one in found])),
        "inside_corrected": float(np.mean([one.inside_corrected for one in found])),
    }


def main() -> None:
    """Print the rows, and keep them if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=12)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = []
    for name, n in TABLES.items():
        table = load_table(name).densest()
        found = [study(table, n, seed) for seed in range(given.studies)]
        rows += [summary(name, k, [one[k] for one in found]) for k in found[0]]
        for row in rows[-len(found[0]) :]:
            print(json.dumps(row), flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
