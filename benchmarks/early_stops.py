"""FLOPs to the same regret: whole runs, ASHA, and trials that end where their curves say so.

Studies on tables of real training curves. Each draws its rounds by the product's own proposals from
the mixtures of the table; the trials of a round run side by side, so that a trial is judged by the
finished trials of earlier rounds and by what its own round has shown at the rung. After every round
the surrogate recommends one mixture of the table (least predicted objective plus one standard
deviation); regret is what that mixture's finished run is above the best one, and error is the root
mean square of what the predicted objectives of all mixtures of the pool miss their finished runs
by. Each study has its own objective (random weights of six random metrics) and its own pool (four
fifths of the mixtures).

With ``--random`` rounds are drawn at random, the first as large as a study's, and there is no
surrogate, so that only the rules differ: of one seed, all methods see the same trials in the same
order. What is chosen is the trial whose end is best, its standard deviation added where it is
predicted.

FLOPs to equal regret are those after which the mean regret over studies, linear between rounds, is
that of whole runs; the intervals are of 1,000 bootstrap samples of the studies.

    python benchmarks/early_stops.py --random --repeats 100 --json FILE --summary FILE
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from mixopt.bench.designs import design_rows
from mixopt.bench.tables import PARAMETERS, load_table
from mixopt.laws.curve_ends import FREEDOM
from mixopt.propose import Evidence, propose_batch
from mixopt.propose.problem import Problem
from mixopt.space import Mixture, Objective, SearchSpace, geometry_of
from mixopt.study.config import default_initial
from mixopt.study.early_ends import Curves, why_end
from mixopt.surrogate import fit_metrics

Array = NDArray[np.float64]

#: Metrics of a study's objective, and the share of a table's mixtures in its pool.
METRICS, POOL = 6, 0.8
LAST = 30_000
#: Noise of a run without a surrogate to say it, in standard deviations of the pool's ends.
NOISE = 0.05
LEVEL = 0.95


@dataclass(frozen=True)
class Table:
    """Curves of ``n`` mixtures: ``X`` (``n x d``), losses ``Y`` (``n x rungs x m``)."""

    name: str
    domains: tuple[str, ...]
    metrics: tuple[str, ...]
    shares: Array
    X: Array
    Y: Array


def mixing_laws_table(name: str) -> Table:
    """The runs of one size of a mixing-law table that reached every rung up to 30k steps."""
    table, _, size = name.partition("-")
    rows = load_table(table)
    mine = np.flatnonzero(rows.parameters == PARAMETERS[size])
    runs: dict[str, dict[float, int]] = {}
    for i in mine:
        runs.setdefault(rows.ids[i].split("-")[1], {})[float(rows.steps[i])] = int(i)
    whole = [r for r in runs.values() if LAST in r]
    steps = sorted(s for s in set.intersection(*map(set, whole)) if 0 < s <= LAST)
    at = np.array([[r[s] for s in steps] for r in whole])
    Y = rows.Y[at]
    kept = np.isfinite(Y).all((0, 1))
    metrics = tuple(m for m, k in zip(rows.metrics, kept, strict=True) if k)
    shares = np.array(steps) / LAST
    return Table(name, rows.domains, metrics, shares, rows.X[at[:, 0]], Y[..., kept])


def recorded_table(path: Path) -> Table:
    """Curves that ``benchmarks/record_curves.py`` recorded."""
    found = json.loads(path.read_text())
    return Table(
        path.stem,
        tuple(found["domains"]),
        tuple(found["metrics"]),
        np.array(found["shares"]),
        np.array(found["X"]),
        np.array(found["Y"]),
    )


@dataclass
class Study:
    """One replay."""

    table: Table
    rows: Array
    objective: Objective
    seed: int
    tried: list[int] = field(default_factory=list)
    reached: list[int] = field(default_factory=list)
    noise: float = 0.0
    stops: list[dict[str, Any]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Metrics of the objective."""
        return list(self.objective.weights)

    @property
    def columns(self) -> list[int]:
        """Their places in the table."""
        return [self.table.metrics.index(n) for n in self.names]

    def values(self, row: int, rung: int) -> dict[str, float]:
        """Metrics of a mixture at a rung."""
        found = self.table.Y[row, rung, self.columns].tolist()
        return dict(zip(self.names, found, strict=True))

    def end(self, row: int) -> float:
        """Objective of a mixture's finished run."""
        return self.objective.value(self.values(row, -1))

    @property
    def last(self) -> int:
        """Number of the last rung."""
        return len(self.table.shares) - 1

    def finished(self) -> list[int]:
        """Mixtures that were trained to their end."""
        return [r for r, rung in zip(self.tried, self.reached, strict=True) if rung == self.last]

    def curves(self, rung: int, row: int, beside: Mapping[int, int] | None = None) -> Curves:
        """What other trials than ``row`` say at a rung.

        Args:
            rung: Its number.
            row: Of the trial.
            beside: The rungs that the trials beside it have reached.
        """
        over = dict(zip(self.tried, self.reached, strict=True))
        over.pop(row, None)
        reached = {**over, **(beside or {})}
        done = [r for r, at in over.items() if at == self.last]
        others = [r for r, at in reached.items() if rung <= at and r not in done]
        ends, seen = [self.values(r, -1) for r in done], [self.values(r, rung) for r in done]
        passed = [self.values(r, rung) for r in others]
        stopped = sorted({at for at in reached.values() if at < rung})
        earlier = [[self.values(r, j) for r, at in reached.items() if at >= j] for j in stopped]
        share = float(self.table.shares[rung])
        return Curves(self.objective, share, seen, ends, passed, earlier)

    @property
    def cost(self) -> float:
        """Whole runs that the trials cost."""
        return float(sum(self.table.shares[rung] for rung in self.reached))


#: From a study, the mixtures of a round and its memory, the rung at which each mixture ends.
Rule = Callable[[Study, Sequence[int], dict[str, Any]], list[int]]


def whole(study: Study, rows: Sequence[int], _: dict[str, Any]) -> list[int]:
    """Every trial to its end."""
    return [study.last] * len(rows)


def asha(factor: int) -> Rule:
    """Asynchronous successive halving as Ray Tune has it, by the objective."""

    def rule(study: Study, rows: Sequence[int], memory: dict[str, Any]) -> list[int]:
        shares, milestones = study.table.shares, list[int]()
        at = float(shares[0])
        while at < 1:
            milestones.append(int(np.searchsorted(shares, at - 1e-9)))
            at *= factor
        seen = memory.setdefault("seen", {m: [] for m in milestones if m < study.last})
        ends, alive = dict.fromkeys(rows, study.last), list(rows)
        for milestone, known in seen.items():
            for row in list(alive):
                value = study.objective.value(study.values(row, milestone))
                known.append(value)
                if len(known) > 1 and value > np.percentile(known, 100 / factor):
                    ends[row] = milestone
                    alive.remove(row)
        return [ends[row] for row in rows]

    return rule


def ours(study: Study, rows: Sequence[int], _: dict[str, Any]) -> list[int]:
    """Trials end where they cannot become the best, or their rest is not worth its tokens."""
    best = min(map(study.end, study.finished()), default=None)
    ends, reached, alive = dict.fromkeys(rows, study.last), dict.fromkeys(rows, 0), list(rows)
    # A study's first trial is the baseline, which is always trained to its end.
    spared = study.tried[0] if study.tried else rows[0]
    for rung in range(study.last):
        reached |= dict.fromkeys(alive, rung)
        for row in [r for r in alive if r != spared]:
            beside = {r: at for r, at in reached.items() if r != row}
            curves, values = study.curves(rung, row, beside), study.values(row, rung)
            if why_end(curves, values, best, study.noise) is not None:
                ends[row] = rung
                alive.remove(row)
                study.stops.append(_judged(study, row, rung, curves, best))
    return [ends[row] for row in rows]


def _judged(
    study: Study, row: int, rung: int, curves: Curves, best: float | None
) -> dict[str, Any]:
    """A stop held against how the run really ended."""
    true, pool = study.end(row), [study.end(int(r)) for r in study.rows]
    facts = {
        "share": float(study.table.shares[rung]),
        "best": true <= min(pool),
        "better": best is not None and true < best,
        "below": None if best is None else best - true,
        "covered": None,
    }
    if curves.enough:
        end = curves.end_of(study.values(row, rung))
        freedom = FREEDOM + len(curves.ends) - 1
        scale = end.objective_sd * np.sqrt((freedom - 2) / freedom)
        wide = student.ppf((1 + LEVEL) / 2, freedom) * scale
        facts["covered"] = bool(abs(true - end.objective) <= wide)
    return facts


#: Per method its rule, and whether predicted ends are learned from.
METHODS: dict[str, tuple[Rule, bool]] = {
    "whole": (whole, False),
    "asha-2": (asha(2), False),
    "asha-4": (asha(4), False),
    "asha-4, ends predicted": (asha(4), True),
    "curves": (ours, True),
}


def evidence_of(study: Study, predicted: bool) -> Evidence:
    """What is learned from: finished trials, and predicted ends of the others where wanted."""
    rows, Y, sd = list[int](), list[list[float]](), list[list[float]]()
    for row, rung in zip(study.tried, study.reached, strict=True):
        if rung == study.last:
            values, spread = study.values(row, -1), dict.fromkeys(study.names, 0.0)
        elif predicted and (curves := study.curves(rung, row)).enough:
            end = curves.end_of(study.values(row, rung))
            values, spread = dict(end.values), dict(end.sd)
        else:
            continue
        rows.append(row)
        Y.append([values[n] for n in study.names])
        sd.append([spread[n] for n in study.names])
    ids = tuple(map(str, rows))
    X = study.table.X[rows]
    return Evidence(X, np.array(Y), tuple(study.names), ids, np.square(sd))


def replay(study: Study, method: str, budget: int, batch: int) -> list[dict[str, float]]:
    """After each round, what it has cost and the regret of its recommendation."""
    rule, predicted = METHODS[method]
    table, space = study.table, _space(study.table)
    geometry, memory, found = geometry_of(space), dict[str, Any](), []
    first = design_rows("maxmin", table.X[study.rows], default_initial(space), study.seed)
    batch_rows = study.rows[first].tolist()
    best = min(study.end(int(r)) for r in study.rows)
    while batch_rows:
        ends = rule(study, batch_rows, memory)
        study.tried += batch_rows
        study.reached += ends
        left = np.setdiff1d(study.rows, study.tried)
        size = min(batch, budget - len(study.tried), len(left))
        seen = evidence_of(study, predicted)
        if len(seen) < 2:
            # As in a study: another design while too few have finished to learn from.
            more = design_rows("maxmin", table.X[left], size, study.seed)
            batch_rows = left[more].tolist()
            continue
        rows = geometry.layout, seen.X, seen.Y, seen.metrics, table.domains
        model = fit_metrics(
            *rows,
            kinds={},
            seed=study.seed,
            uncertainty=seen.variance if not seen.measured.all() else None,
        )
        problem = Problem.of(space, study.objective, model, seen)
        study.noise = problem.noise
        mean, sd = problem.expected(table.X[study.rows][:, problem.there])
        chosen = int(study.rows[int(np.argmin(mean + sd))])
        true = np.array([study.end(int(r)) for r in study.rows])
        error = float(np.sqrt(((mean - true) ** 2).mean()))
        facts = {"trials": len(study.tried), "runs": study.cost, "error": error}
        found.append({**facts, "regret": study.end(chosen) - best})
        if size < 1:
            break
        pool = table.X[left]
        proposed = propose_batch(
            space, study.objective, model, seen, size, seed=study.seed, candidates=pool
        )
        near = [int(np.abs(pool - geometry.encode(s)).sum(1).argmin()) for s in proposed]
        batch_rows = [int(left[i]) for i in dict.fromkeys(near)]
    return found


def drawn(study: Study, method: str, budget: int, batch: int) -> list[dict[str, float]]:
    """The same with rounds at random and no surrogate."""
    rule, predicted = METHODS[method]
    memory, found = dict[str, Any](), []
    order = np.random.default_rng(study.seed).permutation(study.rows)[:budget]
    best = min(study.end(int(r)) for r in study.rows)
    study.noise = NOISE * float(np.std([study.end(int(r)) for r in study.rows]))
    first = default_initial(_space(study.table))
    for batch_rows in np.split(order, range(first, len(order), batch)):
        ends = rule(study, batch_rows.tolist(), memory)
        study.tried += batch_rows.tolist()
        study.reached += ends
        chosen = min(study.tried, key=lambda row: _cautious(study, row, predicted))
        regret = study.end(chosen) - best
        found.append({"trials": len(study.tried), "runs": study.cost, "regret": regret})
    return found


def _cautious(study: Study, row: int, predicted: bool) -> float:
    """The objective of a trial, with a standard deviation where its end is predicted."""
    rung = study.reached[study.tried.index(row)]
    if rung == study.last:
        return study.end(row)
    if not predicted or not (curves := study.curves(rung, row)).enough:
        return float("inf")
    end = curves.end_of(study.values(row, rung))
    return end.objective + end.objective_sd


def _space(table: Table) -> SearchSpace:
    return SearchSpace(domains=table.domains, baseline=Mixture.uniform(table.domains))


def study_of(table: Table, seed: int) -> Study:
    """A study with its own objective and pool."""
    rng = np.random.default_rng(seed)
    names = rng.choice(table.metrics, min(METRICS, len(table.metrics)), replace=False)
    weights = rng.dirichlet(np.ones(len(names)))
    objective = Objective(weights=dict(zip(map(str, names), weights.tolist(), strict=True)))
    size = max(round(POOL * len(table.X)), 1)
    return Study(table, rng.choice(len(table.X), size, replace=False), objective, seed)


def rounds_of(rows: Sequence[dict[str, Any]]) -> Array:
    """What each study's rounds have cost and the regret then: ``studies x rounds x 2``.

    A first round too few of whose trials finished has none, so rounds are counted from the last.
    """
    last = min(len(r["rounds"]) for r in rows)
    return np.array([[(x["runs"], x["regret"]) for x in r["rounds"][-last:]] for r in rows])


def flops_to_equal(rounds: Array, regret: float) -> float:
    """Whole runs' FLOPs to a mean regret, linear between rounds; infinite where not reached."""
    costs, regrets = rounds.mean(0).T
    at = int(np.argmax(regrets <= regret))
    if regrets[at] > regret:
        return float("inf")
    if at == 0:
        return float(costs[0])
    return float(np.interp(regret, regrets[[at, at - 1]], costs[[at, at - 1]]))


def shares_of_whole(rounds: Array, whole_rounds: Array) -> dict[str, list[float | None]]:
    """Per round of whole runs, the share of its FLOPs to its regret, with a 95 % interval."""
    rng = np.random.default_rng(0)
    samples = [np.arange(len(rounds)), *rng.integers(0, len(rounds), (1000, len(rounds)))]
    found = {}
    for k, (cost, _) in enumerate(whole_rounds.mean(0)):
        parts = [flops_to_equal(rounds[i], whole_rounds[i, k, 1].mean()) / cost for i in samples]
        low, high = np.quantile(parts[1:], [0.025, 0.975], method="nearest")
        row = (parts[0], low, high)
        found[f"{cost:g}"] = [round(float(x), 3) if np.isfinite(x) else None for x in row]
    return found


def summary(kept: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per table and method."""
    found = []
    for table in dict.fromkeys(r["table"] for r in kept):
        by = {m: [r for r in kept if (r["table"], r["method"]) == (table, m)] for m in METHODS}
        for method, rows in ((m, rows) for m, rows in by.items() if rows):
            last = [r["rounds"][-1] for r in rows]
            stops = [x for r in rows for x in r["stops"]]
            told = [x["covered"] for x in stops if x["covered"] is not None]
            regrets = [x["regret"] for x in last]
            seeds = {r["seed"] for r in rows}
            beside = [r for r in by["whole"] if r["seed"] in seeds]
            found.append(
                {
                    "table": table,
                    "method": method,
                    "studies": len(rows),
                    "trials": float(np.mean([x["trials"] for x in last])),
                    "whole_runs": round(float(np.mean([x["runs"] for x in last])), 2),
                    "regret": round(float(np.mean(regrets)), 5),
                    "regret_se": round(float(np.std(regrets) / len(rows) ** 0.5), 5),
                    "error": round(float(np.mean([x.get("error", 0.0) for x in last])), 5) or None,
                    "share_of_whole": shares_of_whole(rounds_of(rows), rounds_of(beside)),
                    "stops": len(stops),
                    "better_than_best_finished": sum(x["better"] for x in stops),
                    "best_of_pool": sum(x["best"] for x in stops),
                    "held": round(float(np.mean(told)), 3) if told else None,
                }
            )
    return found


def main() -> None:
    """Replay all methods on all tables."""
    parse = argparse.ArgumentParser(description=__doc__)
    tables = ["pile5-70M", "pile5-160M", "redpajama-70M"]
    parse.add_argument("--tables", nargs="+", default=tables)
    parse.add_argument("--methods", nargs="+", default=["whole", "asha-2", "asha-4", "curves"])
    parse.add_argument("--random", action="store_true", help="no surrogate")
    parse.add_argument("--repeats", type=int, default=12)
    parse.add_argument("--budget", type=int, default=20)
    parse.add_argument("--batch", type=int, default=4)
    parse.add_argument("--json", type=Path, required=True, help="studies; goes on with a file")
    parse.add_argument("--summary", type=Path, help="what is printed at the end")
    given = parse.parse_args()
    kept = json.loads(given.json.read_text()) if given.json.is_file() else []
    for name in given.tables:
        path = Path(name)
        table = recorded_table(path) if path.is_file() else mixing_laws_table(name)
        for method in given.methods:
            for seed in range(given.repeats):
                key = {"table": table.name, "method": method, "seed": seed}
                if any(all(row[k] == v for k, v in key.items()) for row in kept):
                    continue
                study = study_of(table, seed)
                play = drawn if given.random else replay
                rounds = play(study, method, given.budget, given.batch)
                facts = {"trials": len(study.tried), "rounds": rounds, "stops": study.stops}
                kept.append({**key, **facts})
                given.json.write_text(json.dumps(kept, indent=1))
                print(key, f"{study.cost:.2f} runs, regret {rounds[-1]['regret']:.4f}", flush=True)
    for row in summary(kept):
        print(row)
    if given.summary:
        given.summary.write_text(json.dumps(summary(kept), indent=1) + "\n")


if __name__ == "__main__":
    main()
