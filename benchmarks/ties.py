"""What ties are worth where they are true, simulated: 4 sources x 3 topics x 2 qualities.

Losses respond to the topics' effective tokens; within a topic the natural split of qualities is
the best one. The same loop searches all 24 weights, or the 12 that ties at the natural split leave.

Run: python benchmarks/ties.py --seeds 3 --out benchmarks/results/ties.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from mixopt.propose import Evidence, initial_design, propose_batch, recommend
from mixopt.propose.candidates.pool import draws
from mixopt.propose.candidates.refine import refine
from mixopt.space import Objective, SearchSpace, geometry_of
from mixopt.surrogate import fit_surrogate

METRICS = 6
NOISE = 0.003


def make_space(tied: bool) -> SearchSpace:
    """The 24 leaves, with the qualities tied by their tokens or free."""
    rng = np.random.default_rng(11)
    domains = {
        f"s{i}/t{j}/{q}": {"tokens": int(1e6 * rng.uniform(0.3, 3.0))}
        for i in range(4)
        for j in range(3)
        for q in ("high", "low")
    }
    return SearchSpace(domains=domains, ties={"s*/t*": "natural"} if tied else {})


class Truth:
    """Losses 2 + 0.4 (0.03 + A e)^-0.5 of effective topic masses e."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        rng = np.random.default_rng(seed)
        use = rng.gamma(0.5, 0.4, (METRICS, 12))
        use[np.arange(METRICS), rng.permutation(12)[:METRICS]] += 1.0
        self.use = torch.as_tensor(use)
        natural = space.natural.to_array(space.names).reshape(12, 2)
        self.best = torch.as_tensor(natural[:, 0] / natural.sum(1))

    def __call__(self, X: torch.Tensor) -> torch.Tensor:
        """Losses ``n x m`` of rows ``n x 24``."""
        W = X.reshape(*X.shape[:-1], 12, 2)
        mass = W.sum(-1)
        split = W[..., 0] / mass.clamp_min(1e-12)
        effective = mass * (1 - 0.6 * (split - self.best) ** 2)
        return 2 + 0.4 * (0.03 + effective @ self.use.T) ** -0.5


def optimum(truth: Truth) -> float:
    """The least mean loss, which the ties allow."""
    geometry = geometry_of(make_space(tied=True))
    X = draws(geometry, 512, np.random.default_rng(0))

    def score(rows: torch.Tensor) -> torch.Tensor:
        return truth(rows).mean(-1)

    values = score(torch.as_tensor(X)).numpy()
    _, found = refine(geometry, X[np.argsort(values)[:8]], score, steps=300)
    return float(found.min())


def search(tied: bool, seed: int, budget: int, batch: int) -> list[dict[str, float]]:
    """Regret of what would be recommended after each round."""
    space = make_space(tied)
    geometry = geometry_of(space)
    truth = Truth(space, seed)
    least = optimum(truth)
    metrics = tuple(f"m{i}" for i in range(METRICS))
    objective = Objective(weights=dict.fromkeys(metrics, 1 / METRICS))
    rng = np.random.default_rng(seed)
    schedules = initial_design(space, 14, seed=seed, include=[space.baseline_schedule])
    rows: list[dict[str, float]] = []
    Y = np.empty((0, METRICS))
    while True:
        X = np.array([geometry.encode(s) for s in schedules])
        clean = truth(torch.as_tensor(X)).numpy()
        fresh = clean[len(Y) :]
        Y = np.vstack([Y, fresh + NOISE * rng.standard_normal(fresh.shape)])
        evidence = Evidence(X, Y, metrics, tuple(f"t{i}" for i in range(len(X))))
        fitted = fit_surrogate(geometry.layout, X, Y, metrics, space.names, seed=seed)
        found = recommend(space, objective, fitted, evidence, seed=seed)
        at = truth(torch.as_tensor(geometry.encode(found.schedule))[None]).mean().item()
        rows.append({"trials": len(X), "regret": at - least})
        print(json.dumps({"tied": tied, "seed": seed, **rows[-1]}), flush=True)
        if len(X) + batch > budget:
            return rows
        schedules += propose_batch(space, objective, fitted, evidence, batch, seed=seed + len(X))


def main() -> None:
    """Print each round, and the mean regret of both searches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=46)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = {
        name: [search(tied, seed, args.budget, args.batch) for seed in range(args.seeds)]
        for name, tied in (("tied", True), ("free", False))
    }
    trials = [row["trials"] for row in found["tied"][0]]
    summary = {
        name: {
            int(n): float(np.mean([runs[s][i]["regret"] for s in range(args.seeds)]))
            for i, n in enumerate(trials)
        }
        for name, runs in found.items()
    }
    text = json.dumps({"seeds": args.seeds, "mean_regret": summary, "runs": found}, indent=1)
    print(json.dumps(summary))
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
