"""Whole studies on losses whose truth is known: coverage, bias and regret of what they recommend.

Five domains and five metrics, one and two phases, smooth and bumpy truths, a noise of .01 and .03
per trial of the objective, most of it common to runs of one seed: eight cells of ten studies, each
of 36 trials by ``Study.optimize``.
The recommendation is compared with the truth, and so are those of random proposals with the same
surrogate and of BoTorch's Gaussian process with noisy expected improvement.

Run: python benchmarks/simulated_studies.py --json benchmarks/results/simulated_studies.json
A study that the file holds already is not run again.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kept_studies import keep_studies, read_studies
from landscapes import Landscape, effective
from numpy.typing import NDArray
from scipy.stats import spearmanr

from mixopt.bench.methods import gp_model
from mixopt.propose import Evidence, Recommendation, expected_regret, recommend
from mixopt.propose.candidates.pool import around, draws
from mixopt.space import (
    Fidelity,
    Geometry,
    PhaseSpace,
    Schedule,
    SearchSpace,
)
from mixopt.study import Study, TrialBudget
from mixopt.surrogate import fit_surrogate

Array = NDArray[np.float64]

TOKENS = {"web": 90_000, "code": 40_000, "books": 60_000, "math": 15_000, "wiki": 120_000}
WEIGHTS = {"code": 0.35, "math": 0.35, "web": 0.1, "books": 0.1, "wiki": 0.1}
BUDGET, BATCH = 36, 8
#: Standard deviation per metric of what a bumpy truth adds, and its lengthscale in sqrt(weight).
BUMP, LENGTH, WAVES = 0.05, 0.35, 400
#: Correlation of the metrics' noise: one run's luck moves them together.
TOGETHER = 0.5
#: Share of the noise's variance that runs of one seed have in common, whatever their mixture: about
#: what paired runs of the proxy show (recipe.json), and the number of seeds of a study.
SHARED, SEEDS = 0.8, 3


@dataclass(frozen=True)
class Cell:
    """One kind of study."""

    phases: int
    bumpy: bool
    noise: float

    @property
    def name(self) -> str:
        """As it is printed."""
        shape = "bumpy" if self.bumpy else "smooth"
        return f"{self.phases} phase{'s' * (self.phases > 1)}, {shape}, noise {self.noise:g}"


CELLS = [Cell(*facts) for facts in itertools.product((1, 2), (False, True), (0.01, 0.03))]


def make_space(phases: int) -> SearchSpace:
    """Five domains under a cap of four epochs; the second phase of up to 30 % of the tokens."""
    chosen = [PhaseSpace(name="base")]
    if phases == 2:
        chosen.append(PhaseSpace(name="ending", fraction=(0.0, 0.1, 0.2, 0.3)))
    return SearchSpace(
        domains=[{"name": name, "tokens": tokens} for name, tokens in TOKENS.items()],
        phases=chosen,
        target=Fidelity(parameters=1000, tokens=100_000),
        max_epochs=4.0,
    )


class Truth(Landscape):
    """Losses c + b (eps + A z)^-g of the mixture z, late tokens counting more; and bumps.

    Args:
        cell: Kind of study.
        seed: Of the truth.
        space: What can be chosen; the cell's by default.
        weights: Of the objective, one per domain of the space.
    """

    def __init__(
        self,
        cell: Cell,
        seed: int,
        space: SearchSpace | None = None,
        weights: Mapping[str, float] = WEIGHTS,
    ) -> None:
        space = space or make_space(cell.phases)
        super().__init__(space, {name: weights[name] for name in space.names})
        self.cell, self.seed = cell, seed
        rng = np.random.default_rng([seed, cell.phases, cell.bumpy])
        d = len(self.metrics)
        use = rng.uniform(0.0, 0.3, (d, d))
        use[np.arange(d), np.arange(d)] = 1.0
        self.use = torch.as_tensor(use)
        self.power = torch.as_tensor(rng.uniform(0.25, 0.6, d))
        self.size = torch.as_tensor(rng.uniform(0.3, 0.6, d))
        self.recency = torch.as_tensor(rng.uniform(0.1, 0.4, 1))
        spread = np.sqrt(5.0 / rng.chisquare(5.0, WAVES)) / LENGTH
        self.waves = torch.as_tensor(rng.standard_normal((d, WAVES)) * spread)
        self.shift = torch.as_tensor(rng.uniform(0.0, 2 * np.pi, WAVES))
        amplitude = BUMP * cell.bumpy * (2 / WAVES) ** 0.5
        self.heights = torch.as_tensor(amplitude * rng.standard_normal((WAVES, d)))

    def __call__(self, X: torch.Tensor) -> torch.Tensor:
        """Losses ``n x m`` of rows ``n x D``."""
        z = effective(X, self.geometry, self.recency)[0]
        law = 2 + self.size * (0.05 + z @ self.use.T) ** -self.power
        bumps: torch.Tensor = torch.cos((z + 1e-4).sqrt() @ self.waves + self.shift) @ self.heights
        return bumps + law

    def observed(self, schedule: Schedule, seed: int) -> dict[str, float]:
        """Losses of one run, whose noise follows from its schedule and seed."""
        row = self.geometry.encode(schedule)
        own = self._noise([self.seed, seed, self.cell.noise, row.round(8).tolist()])
        noise = SHARED**0.5 * self._noise([self.seed, seed]) + (1 - SHARED) ** 0.5 * own
        w = self.weights
        of_objective = (TOGETHER * w.sum() ** 2 + (1 - TOGETHER) * (w @ w)) ** 0.5
        true = self(torch.as_tensor(row[None]))[0].numpy()
        values = true + self.cell.noise / of_objective * noise
        return dict(zip(self.metrics, values.tolist(), strict=True))

    def _noise(self, of: list[Any]) -> Array:
        """``m`` standard normal draws that ``of`` determines, correlated as metrics of one run."""
        digest = hashlib.sha256(json.dumps(of).encode()).digest()
        rng = np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))
        own, common = rng.standard_normal(len(self.metrics)), rng.standard_normal()
        drawn: Array = TOGETHER**0.5 * common + (1 - TOGETHER) ** 0.5 * own
        return drawn

    def evidence(self, X: Array, seed: int) -> Evidence:
        """Runs of rows ``n x D``, over as many seeds as a study has."""
        seen = [self.observed(self.geometry.decode(x), seed + i % SEEDS) for i, x in enumerate(X)]
        Y = np.array([[values[name] for name in self.metrics] for values in seen])
        return Evidence(X, Y, self.metrics, tuple(f"t{i}" for i in range(len(X))))


def judged(truth: Truth, least: float, found: Recommendation) -> dict[str, float]:
    """What a recommendation says, and what is true of it."""
    base = truth.space.baseline_schedule
    true, true_base = truth.value(found.schedule), truth.value(base)
    gap = found.differences.predicted
    return {
        "regret": true - least,
        "predicted": found.predicted.mean,
        "sd": found.predicted.sd,
        "true": true,
        "gap": gap.mean,
        "gap_sd": gap.sd,
        "true_gap": true - true_base,
        "base": found.baseline.mean,
        "base_sd": found.baseline.sd,
        "true_base": true_base,
        "best_observed": found.best_observed.value,
        "true_best_observed": truth.value(found.best_observed.schedule),
    }


def mixopt_study(truth: Truth, least: float) -> dict[str, Any]:
    """One study to the end of its budget."""
    study = Study(
        "simulated",
        truth.space,
        truth.objective,
        storage=None,
        seed=truth.seed,
        budget=TrialBudget(trials=BUDGET),
        batch=BATCH,
        patience=BUDGET,
        seed_blocks=SEEDS,
    )
    found = study.optimize(lambda schedule, _, seed: truth.observed(schedule, seed))
    seen, fitted = study.learned(extra=True)
    given = truth.space, truth.objective, fitted, seen
    of_mean = recommend(*given, seed=truth.seed, caution=0.0)
    return {
        "last": judged(truth, least, found),
        "mean_regret": truth.value(of_mean.schedule) - least,
        "expected_regret": expected_regret(*given, seed=truth.seed),
        "decisions": [
            {**_numbers(event), "regret": regret_after(truth, least, study, seen, event["trials"])}
            for event in study.state().decisions
        ],
    }


def regret_after(truth: Truth, least: float, study: Study, seen: Evidence, trials: int) -> float:
    """True regret of what the study's first trials alone would have recommended."""
    part = Evidence(seen.X[:trials], seen.Y[:trials], seen.metrics, seen.ids[:trials])
    seeds = [trial.seed for trial in study.state().learned_from[:trials]]
    fitted = fit_surrogate(
        truth.geometry.layout,
        part.X,
        part.Y,
        part.metrics,
        truth.space.names,
        seed=truth.seed,
        groups=np.unique(seeds, return_inverse=True)[1],
    )
    found = recommend(truth.space, truth.objective, fitted, part, seed=truth.seed)
    return truth.value(found.schedule) - least


def _numbers(event: Mapping[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in event.items() if isinstance(v, (int, float))}


def random_study(truth: Truth, least: float) -> dict[str, Any]:
    """The baseline and random schedules, learned from by the same surrogate."""
    rng = np.random.default_rng([truth.seed, 1])
    base = truth.geometry.encode(truth.space.baseline_schedule)
    X = np.vstack([base[None], draws(truth.geometry, BUDGET - 1, rng)])
    seen = truth.evidence(X, 1000)
    names = truth.space.names
    groups = np.arange(len(X)) % SEEDS
    given = truth.geometry.layout, X, seen.Y, seen.metrics, names
    fitted = fit_surrogate(*given, seed=truth.seed, groups=groups)
    found = recommend(truth.space, truth.objective, fitted, seen, seed=truth.seed)
    return {"last": judged(truth, least, found)}


def _inputs(geometry: Geometry, X: Array) -> Array:
    """What the other Gaussian process is given: exposures, and the ending's mixture and length."""
    W, F = geometry.layout.split(X)
    exposure: Array = np.einsum("npd,np->nd", W, F)
    if geometry.layout.phases == 1:
        return exposure
    last = np.where(F[:, -1:] > 1e-9, W[:, -1], W[:, 0])
    return np.hstack([exposure, last, F[:, -1:]])


def gp_study(truth: Truth, least: float) -> dict[str, Any]:
    """BoTorch's Gaussian process on the objective, batches by noisy expected improvement."""
    from botorch.acquisition.logei import qLogNoisyExpectedImprovement
    from botorch.optim.optimize import optimize_acqf_discrete

    geometry, rng = truth.geometry, np.random.default_rng([truth.seed, 2])
    first = len(TOKENS) * truth.cell.phases + 1
    base = geometry.encode(truth.space.baseline_schedule)
    X = np.vstack([base[None], draws(geometry, first - 1, rng)])
    y = truth.evidence(X, 2000).values(truth.objective)
    while True:
        torch.manual_seed(truth.seed)
        model = gp_model(_inputs(geometry, X), -y[:, None])
        if len(X) == BUDGET:
            break
        best = X[np.argsort(y)[:5]]
        pool = np.vstack([draws(geometry, 1024, rng), around(geometry, best, 1024, rng)])
        Z = torch.as_tensor(_inputs(geometry, pool))
        known = torch.as_tensor(_inputs(geometry, X))
        wanted = min(BATCH, BUDGET - len(X))
        acquisition = qLogNoisyExpectedImprovement(model, known, prune_baseline=True)
        chosen, _ = optimize_acqf_discrete(acquisition, q=wanted, choices=Z, max_batch_size=512)
        rows = [int(torch.cdist(c[None], Z).argmin()) for c in chosen]
        new = truth.evidence(pool[rows], 2000).values(truth.objective)
        X, y = np.vstack([X, pool[rows]]), np.append(y, new)
    pool = np.vstack([pool, X])
    with torch.no_grad():
        posterior = model.posterior(torch.as_tensor(_inputs(geometry, pool)))
    at = int(posterior.mean[:, 0].argmax())
    true = truth.value(geometry.decode(pool[at]))
    row = {
        "regret": true - least,
        "predicted": -float(posterior.mean[at]),
        "sd": float(posterior.variance[at]) ** 0.5,
        "true": true,
    }
    return {"last": row}


METHODS = {"mixopt": mixopt_study, "random": random_study, "gp": gp_study}


def simulate(method: str, cell: Cell, seed: int) -> dict[str, Any]:
    """One study of one method."""
    truth = Truth(cell, seed)
    least, start = truth.least(), time.perf_counter()
    found = METHODS[method](truth, least)
    seconds = round(time.perf_counter() - start, 1)
    return {"method": method, **asdict(cell), "seed": seed, "seconds": seconds, **found}


def _error(values: Array) -> float:
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")


def summary(found: list[dict[str, Any]]) -> dict[str, float]:
    """Coverage, bias and regret of the last recommendations."""
    last = [study["last"] for study in found]
    col = {k: np.array([row[k] for row in last]) for k in last[0]}
    off = col["predicted"] - col["true"]
    out = {
        "studies": len(last),
        "regret": col["regret"].mean(),
        "regret_error": _error(col["regret"]),
        "bias": off.mean(),
        "bias_error": _error(off),
        "rmse": float((off**2).mean() ** 0.5),
        "sd": col["sd"].mean(),
        "coverage": (np.abs(off) <= 1.96 * col["sd"]).mean(),
    }
    if "gap" in col:
        off = col["gap"] - col["true_gap"]
        base = col["base"] - col["true_base"]
        out |= {
            "gap_bias": off.mean(),
            "gap_coverage": (np.abs(off) <= 1.96 * col["gap_sd"]).mean(),
            "base_bias": base.mean(),
            "base_coverage": (np.abs(base) <= 1.96 * col["base_sd"]).mean(),
        }
    for name in ("mean_regret", "expected_regret"):
        if name in found[0]:
            out[name] = np.mean([study[name] for study in found])
    return {k: round(float(v), 4) for k, v in out.items()}


def stopping(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What the stopping rule expected and what was true, by trials; and where it would have ended.

    A study is stopped too early where its regret then is more than half a trial's noise above the
    one at the end of its budget, and late where it could have ended eight trials before and did
    not.
    """
    for trials in sorted({d["trials"] for study in found for d in study["decisions"]}):
        at = [d for study in found for d in study["decisions"] if d["trials"] == trials]
        said, true = (np.array([d[k] for d in at]) for k in ("expected_regret", "regret"))
        yield {
            "trials": trials,
            "expected": round(float(said.mean()), 4),
            "true": round(float(true.mean()), 4),
            "true_error": round(_error(true), 4),
            "rank": round(float(spearmanr(said, true)[0]), 2),
        }
    for rounds in (1, 2):
        yield _ended(found, rounds)


def _ended(found: list[dict[str, Any]], rounds: int) -> dict[str, Any]:
    """The studies as if they had ended after so many rounds in a row that say stop."""
    ends, early, late, saved = [], [], [], []
    for study in found:
        last, worth, decisions = study["last"]["regret"], study["noise"] / 2, study["decisions"]
        runs = [decisions[k - rounds + 1 : k + 1] for k in range(rounds - 1, len(decisions))]
        stop = next((run[-1] for run in runs if all(d["stop"] for d in run)), None)
        ends.append(last if stop is None else stop["regret"])
        saved.append(0 if stop is None else BUDGET - stop["trials"])
        early.append(ends[-1] > last + worth)
        free = [d for d in decisions if d["regret"] <= last + worth]
        could = any(BUDGET - d["trials"] >= BATCH for d in free)
        late.append(could and saved[-1] < BATCH)
    return {
        "rounds in a row": rounds,
        "trials saved": float(np.mean(saved)),
        "regret": round(float(np.mean(ends)), 4),
        "regret at the end": round(float(np.mean([s["last"]["regret"] for s in found])), 4),
        "too early": float(np.mean(early)),
        "too late": float(np.mean(late)),
    }


def tables(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for each method and cell, and one for each method."""
    for method in METHODS:
        mine = [s for s in found if s["method"] == method]
        for cell in CELLS:
            part = [s for s in mine if {k: s[k] for k in asdict(cell)} == asdict(cell)]
            if part:
                yield {"method": method, "cell": cell.name, **summary(part)}
        if mine:
            yield {"method": method, "cell": "all", **summary(mine)}
        if mine and "decisions" in mine[0]:
            yield from stopping(mine)


def main() -> None:
    """Run what is missing, print the tables, keep the studies if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--cells", nargs="+", type=int, default=list(range(len(CELLS))))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = read_studies(given.json)
    done = {(s["method"], s["phases"], s["bumpy"], s["noise"], s["seed"]) for s in found}
    seeds = range(given.first, given.first + given.seeds)
    for seed, method, i in itertools.product(seeds, given.methods, given.cells):
        cell = CELLS[i]
        if (method, *asdict(cell).values(), seed) in done:
            continue
        study = simulate(method, cell, seed)
        found.append(study)
        last = {k: round(v, 4) for k, v in study["last"].items()}
        print(method, cell.name, seed, study["seconds"], json.dumps(last), flush=True)
        keep_studies(given.json, found, summary=list(tables(found)))
    for row in tables(found):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
