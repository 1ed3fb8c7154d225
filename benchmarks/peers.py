"""Ax, Optuna and BayBE, each in an environment of its own, beside the product and peers' recipes.

Whole studies on losses fitted to the public tables of 5, 7 and 17 domains, in one and two phases
(``landscapes.py``): studies of even seeds on Gaussian processes fitted to the tables, of odd seeds
on laws with such a process on what they leave. The noise is what the latter leave: a run's follows
from the study's seed and the run's number, whatever the method. Batches of 8; regret is the true
objective of what a method recommends after 16, 32 and 64 trials, above the least in the space.

Libraries are given the objective, and ours and olmix its metrics. An environment that cannot be
made is skipped, and why is said. A study goes beyond 32 trials only where its proposals have taken
less than the limit of processor time until then.

Run: python benchmarks/peers.py --json benchmarks/results/peers.json
A study that the file holds already is not run again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from kept_studies import keep_studies, read_studies
from landscapes import Array, FittedLandscape, table_fit
from simulated_studies import regret_after

from mixopt.bench.methods import (
    CLIMB_TOP,
    OLMIX_KL,
    Task,
    fit_climb,
    fit_mixing_laws,
    fit_regmix,
)
from mixopt.propose.candidates.pool import around, draws
from mixopt.space import Fidelity, Schedule
from mixopt.study import Study, TrialBudget

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
from environments import environment  # noqa: E402

TABLES = ("pile5", "redpajama", "regmix")
BUDGETS, BATCH = (16, 32, 64), 8
#: Candidates of a recipe, and those of them whose mean RegMix takes.
POOL, REGMIX_BEST = 20_000, 128

Found = dict[str, Any]


class Method(ABC):
    """Asked for rows ``n x D`` and told losses ``n x m``."""

    #: Processor seconds that proposals took.
    seconds = 0.0

    @abstractmethod
    def ask(self, n: int) -> Array:
        """Rows ``n x D`` to be run."""

    @abstractmethod
    def tell(self, Y: Array) -> None:
        """Losses ``n x m`` of the rows asked."""

    @abstractmethod
    def best(self) -> Array:
        """The row ``D`` that the method recommends."""


class Peer(Method):
    """A library in its own environment; see ``peer_runners/runner.py``."""

    def __init__(self, python: Path, name: str, landscape: FittedLandscape) -> None:
        self.landscape = landscape
        self.process = subprocess.Popen(
            [python, HERE / "peer_runners" / "runner.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            text=True,
        )
        layout = landscape.geometry.layout
        self._call(start=[name, layout.domains, layout.phases, landscape.seed])
        self.seconds = 0.0

    def _call(self, **request: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer ended with {self.process.wait()} when told {request}")
        found = json.loads(line)
        self.seconds += found["seconds"]
        return found["answer"]

    def _rows(self, weights: list[list[float]]) -> Array:
        """Rows of weights that sum to 1 up to the library's tolerance."""
        layout, geometry = self.landscape.geometry.layout, self.landscape.geometry
        W = np.maximum(np.array(weights).reshape(len(weights), layout.phases, layout.domains), 0)
        W /= W.sum(-1, keepdims=True)
        return geometry.rows(geometry.fraction_choices[0], W.reshape(len(W), -1))

    def ask(self, n: int) -> Array:
        """See the class."""
        return self._rows(self._call(ask=n))

    def tell(self, Y: Array) -> None:
        """See the class."""
        self._call(tell=(Y @ self.landscape.weights).tolist())

    def best(self) -> Array:
        """See the class; not counted as a proposal."""
        before = self.seconds
        row = self._rows([self._call(best=0)])[0]
        self.seconds = before
        return row

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Recipe(Method):
    """A published recipe: a swarm of Dirichlet draws, learned from once; CLIMB goes in rounds.

    A schedule's features are its shares of tokens by phase and domain, which sum to 1.
    """

    def __init__(self, name: str, landscape: FittedLandscape) -> None:
        self.name, self.landscape, self.seed = name, landscape, landscape.seed
        self.geometry, self.rng = landscape.geometry, np.random.default_rng([self.seed, 1])
        self.X = np.empty((0, self.geometry.layout.dim))
        self.Y = np.empty((0, len(landscape.metrics)))

    def _draws(self, n: int) -> Array:
        return draws(self.geometry, n, self.rng)

    def _shares(self, X: Array) -> Array:
        W, F = self.geometry.layout.split(X)
        return np.asarray((W * F[..., None]).reshape(len(X), -1))

    def _score(self) -> Callable[[Array], Array]:
        """Predicted objective of rows, with olmix's KL term."""
        weights, X = self.landscape.weights, self._shares(self.X)
        names = tuple(map(str, range(X.shape[1])))
        if self.name == "olmix":
            law = fit_mixing_laws(Task(X, self.Y, self.landscape.metrics, names, self.seed))
            layout, fractions = self.geometry.layout, self.geometry.fraction_choices[0]
            uniform = np.full((1, layout.phases * layout.domains), 1 / layout.domains)
            prior = self._shares(self.geometry.rows(fractions, uniform))
            return lambda rows: (
                law(z := self._shares(rows)).mean @ weights
                + OLMIX_KL * np.sum(z * np.log(np.maximum(z, 1e-12) / prior), axis=1)
            )
        fit = fit_regmix if self.name == "regmix" else fit_climb
        trees = fit(Task(X, (self.Y @ weights)[:, None], ("objective",), names, self.seed))
        return lambda rows: trees(self._shares(rows)).mean[:, 0]

    def ask(self, n: int) -> Array:
        """See the class."""
        begun = time.process_time()
        if self.name == "climb" and len(self.X):
            pool, score = self._draws(POOL), self._score()
            top = np.argsort(score(pool))[: int(CLIMB_TOP * POOL)]
            self.asked = pool[self.rng.choice(top, n, replace=False)]
        else:
            self.asked = self._draws(n)
        self.seconds += time.process_time() - begun
        return self.asked

    def tell(self, Y: Array) -> None:
        """See the class."""
        self.X, self.Y = np.vstack([self.X, self.asked]), np.vstack([self.Y, Y])

    def best(self) -> Array:
        """The least predicted; RegMix takes the mean of 128 and random draws have no model."""
        if self.name == "random":
            return np.asarray(self.X[np.argmin(self.Y @ self.landscape.weights)])
        pool, score = self._draws(POOL), self._score()
        order = np.argsort(score(pool))
        if self.name == "regmix":
            return np.asarray(pool[order[:REGMIX_BEST]].mean(0))
        # The convex problem has one minimum, which neighbours of the best come close to.
        for _ in range(3 * (self.name == "olmix")):
            pool = np.vstack(
                [pool[order[:32]], around(self.geometry, pool[order[:32]], 2000, self.rng)]
            )
            order = np.argsort(score(pool))
        return np.asarray(pool[order[0]])


def run_method(method: Method, landscape: FittedLandscape, least: float, limit: float) -> Found:
    """Regret of the recommendation and of the best trial seen, and seconds per proposal."""
    regret, seen = {}, {}
    X, y = np.empty((0, landscape.geometry.layout.dim)), np.empty(0)
    for told in range(0, BUDGETS[-1], BATCH):
        asked = method.ask(BATCH)
        Y = landscape.observed(asked, told)
        method.tell(Y)
        X, y = np.vstack([X, asked]), np.append(y, Y @ landscape.weights)
        if (trials := told + BATCH) in BUDGETS:
            chosen = np.array([method.best(), X[y.argmin()]])
            values = (landscape.objective_at(chosen) - least).tolist()
            regret[str(trials)], seen[str(trials)] = values
            if trials >= BUDGETS[1] and method.seconds > limit:
                break
    return {"regret": regret, "seen": seen, "seconds": method.seconds / trials}


def run_mixopt(landscape: FittedLandscape, least: float) -> Found:
    """The same of a study of the product, whose rounds are as large."""
    spent, calls = 0.0, itertools.count()

    def trainer(schedule: Schedule, _fidelity: Fidelity, _seed: int) -> dict[str, float]:
        nonlocal spent
        begun = time.process_time()
        row = landscape.geometry.encode(schedule)[None]
        losses = landscape.observed(row, next(calls))[0].tolist()
        spent += time.process_time() - begun
        return dict(zip(landscape.metrics, losses, strict=True))

    most, begun = BUDGETS[-1], time.process_time()
    study = Study(
        "peers",
        landscape.space,
        landscape.objective,
        storage=None,
        seed=landscape.seed,
        budget=TrialBudget(trials=most),
        batch=BATCH,
        patience=most,
    )
    found = study.optimize(trainer)
    seconds = (time.process_time() - begun - spent) / most
    runs, _ = study.learned(extra=True)
    regret = {str(n): regret_after(landscape, least, study, runs, n) for n in BUDGETS[:-1]}
    regret[str(most)] = landscape.value(found.schedule) - least
    y = runs.values(landscape.objective)
    best = [runs.X[y[:n].argmin()] for n in BUDGETS]
    values = (landscape.objective_at(np.array(best)) - least).tolist()
    return {"regret": regret, "seen": dict(zip(regret, values, strict=True)), "seconds": seconds}


#: The environment that each method needs, if any.
METHODS = {
    "mixopt": None,
    "ax": "ax",
    "baybe": "baybe",
    "optuna-tpe": "optuna",
    "optuna-gp": "optuna",
    "olmix": None,
    "regmix": None,
    "climb": None,
    "random": None,
}


def pythons(names: set[str]) -> dict[str, Path]:
    """Interpreters of the environments that can be made; of others it is said why not."""
    specs = tomllib.loads((HERE / "peer_runners" / "environments.toml").read_text())
    found = {}
    for name in sorted(names):
        try:
            found[name] = environment(name, specs[name])
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{name}: skipped: {getattr(error, 'stderr', None) or error}", flush=True)
    return found


def run_study(
    name: str, landscape: FittedLandscape, least: float, python: Path | None, limit: float
) -> Found:
    """One study of one method."""
    if name == "mixopt":
        return run_mixopt(landscape, least)
    if python is None:
        return run_method(Recipe(name, landscape), landscape, least, limit)
    with closing(Peer(python, name, landscape)) as peer:
        return run_method(peer, landscape, least, limit)


def _of(study: Found) -> tuple[int, int, int]:
    return study["domains"], study["phases"], study["seed"]


def summary(studies: list[Found]) -> Iterator[Found]:
    """Mean regret and its standard error per method: of the studies that all have, and by cell."""
    methods = [name for name in METHODS if any(s["method"] == name for s in studies)]
    shared = set.intersection(*({_of(s) for s in studies if s["method"] == m} for m in methods))
    groups = [("shared", shared)]
    for cell in sorted({_of(s)[:2] for s in studies}):
        own = {_of(s) for s in studies if _of(s)[:2] == cell}
        groups.append((f"{cell[0]} domains, phases: {cell[1]}", own))
    for label, group in groups:
        for name in methods:
            own = [s for s in studies if s["method"] == name and _of(s) in group]
            if own:
                yield {"studies": label, "method": name, **_means(own)}


def _means(studies: list[Found]) -> Found:
    row = {"seconds per proposal": round(float(np.mean([s["seconds"] for s in studies])), 3)}
    for n in map(str, BUDGETS):
        values = np.array([s["regret"][n] for s in studies if n in s["regret"]])
        if len(values):
            row |= {n: round(float(values.mean()), 4), f"{n} of": len(values)}
        if len(values) > 1:
            row[f"{n} error"] = round(float(values.std(ddof=1) / len(values) ** 0.5), 4)
    return row


def main() -> None:
    """Run what is missing, print the table, keep the studies if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--limit", type=float, default=600.0, help="seconds until 32 trials")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = read_studies(given.json)
    places = pythons({METHODS[name] for name in given.methods} - {None})
    methods = [name for name in given.methods if METHODS[name] in (None, *places)]
    done = {(s["method"], s["table"], s["phases"], s["seed"]) for s in found}
    seeds = range(given.first, given.first + given.seeds)
    for seed, phases, table in itertools.product(seeds, (1, 2), given.tables):
        missing = [name for name in methods if (name, table, phases, seed) not in done]
        if not missing:
            continue
        kind = ("gp", "law")[seed % 2]
        # The law leaves less unexplained, so its scatter is nearer to that of runs.
        scatter = table_fit(table, "law").scatter
        landscape = FittedLandscape(table_fit(table, kind), scatter, phases, seed)
        least = landscape.least()
        facts = {"table": table, "domains": len(landscape.space.names), "phases": phases}
        for name in missing:
            python = places.get(METHODS[name])
            study = run_study(name, landscape, least, python, given.limit)
            found.append({"method": name, **facts, "fit": kind, "seed": seed, **study})
            print(json.dumps(found[-1]), flush=True)
            keep_studies(given.json, found, summary=list(summary(found)))
    for row in summary(found):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
