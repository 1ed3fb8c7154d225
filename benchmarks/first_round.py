"""Which first round tells more: max-min or Dirichlet draws, where limits bind or domains are many.

Truths of ``simulated_studies.py`` in one phase, smooth and bumpy, of noise .01. A first round of a
study's usual size begins with the baseline; the rest is max-min (what a study does) or drawn from a
Dirichlet distribution and projected. The surrogate fitted to it recommends: its regret, and its
error of the objective over schedules drawn anew from both designs alike.

Run: python benchmarks/first_round.py --json benchmarks/results/first_round.json
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from simulated_studies import SEEDS, Cell, Truth

from mixopt.propose import initial_design, recommend
from mixopt.propose.candidates.pool import draws
from mixopt.space import Fidelity, PhaseSpace, Schedule, SearchSpace
from mixopt.study.config import default_initial
from mixopt.surrogate import fit_surrogate

Array = NDArray[np.float64]
#: Of the objective; and schedules of each design that errors are taken over.
NOISE, JUDGED = 0.01, 32


def space_of(domains: int, epochs: float) -> SearchSpace:
    """Domains of uneven size in a run of 100,000 tokens."""
    share = np.random.default_rng(domains).dirichlet(np.ones(domains))
    tokens = (20_000 + 300_000 * share).astype(int).tolist()
    return SearchSpace(
        domains=[{"name": f"d{i}", "tokens": n} for i, n in enumerate(tokens)],
        phases=[PhaseSpace(name="base")],
        target=Fidelity(parameters=1000, tokens=100_000),
        max_epochs=epochs,
    )


#: Five domains of which most can fill less than half of a run; 17 with loose caps.
SPACES = {"5 domains, caps bind": space_of(5, 0.5), "17 domains": space_of(17, 4.0)}


def _maxmin(truth: Truth, n: int, seed: int) -> list[Schedule]:
    return initial_design(truth.space, n, seed=seed, include=[truth.space.baseline_schedule])


def _dirichlet(truth: Truth, n: int, seed: int) -> list[Schedule]:
    rows = draws(truth.geometry, n - 1, np.random.default_rng(seed))
    return [truth.space.baseline_schedule, *(truth.geometry.decode(row) for row in rows)]


DESIGNS: dict[str, Callable[[Truth, int, int], list[Schedule]]] = {
    "max-min": _maxmin,
    "dirichlet": _dirichlet,
}


def judged(truth: Truth, design: str, rows: Array, least: float) -> dict[str, float]:
    """What one first round leads to."""
    schedules = DESIGNS[design](truth, default_initial(truth.space), truth.seed)
    X = np.array([truth.geometry.encode(s) for s in schedules])
    seen, groups = truth.evidence(X, 1000), np.arange(len(X)) % SEEDS
    given = truth.geometry.layout, X, seen.Y, seen.metrics, truth.space.names
    fitted = fit_surrogate(*given, seed=truth.seed, groups=groups)
    found = recommend(truth.space, truth.objective, fitted, seen, seed=truth.seed)
    error = (fitted.predict(rows).mean - truth(torch.as_tensor(rows)).numpy()) @ truth.weights
    return {
        "regret": truth.value(found.schedule) - least,
        "rmse": float(np.sqrt((error**2).mean())),
    }


def compared(space: str, bumpy: bool, seed: int) -> dict[str, dict[str, float]]:
    """Both designs on one truth."""
    chosen = SPACES[space]
    share = np.random.default_rng([seed, 7]).dirichlet(np.ones(len(chosen.names)))
    weights = dict(zip(chosen.names, share.tolist(), strict=True))
    truth = Truth(Cell(1, bumpy, NOISE), seed, chosen, weights)
    spread = _maxmin(truth, JUDGED, seed + 100)[1:]
    drawn = draws(truth.geometry, len(spread), np.random.default_rng(seed + 100))
    rows = np.vstack([[truth.geometry.encode(s) for s in spread], drawn])
    least = truth.least()
    return {design: judged(truth, design, rows, least) for design in DESIGNS}


def main() -> None:
    """Print and keep means, and paired differences with their standard deviation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    kept = {}
    for space, bumpy in itertools.product(SPACES, (False, True)):
        found = [compared(space, bumpy, seed) for seed in range(given.seeds)]
        row = {}
        for key in ("regret", "rmse"):
            both = np.array([[one[design][key] for design in DESIGNS] for one in found])
            apart = both[:, 1] - both[:, 0]
            row[key] = dict(zip(DESIGNS, both.mean(0).round(4).tolist(), strict=True)) | {
                "difference": round(float(apart.mean()), 4),
                "sd": round(float(apart.std()), 4),
            }
        name = f"{space}, {'bumpy' if bumpy else 'smooth'}"
        print(name, json.dumps(row), flush=True)
        kept[name] = {"seeds": given.seeds, **row}
        if given.json:
            given.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
