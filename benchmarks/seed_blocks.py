r"""Over how many seeds the trials of a study should be spread, by simulation.

Worlds of five domains and two metrics whose truth is known. A run's loss is the truth, plus what
its seed does to every mixture alike, plus what the seed does to this mixture (smooth in the
weights, so that a search on one seed can be led astray), plus what is left. Their sizes are near to
those measured on 98k-parameter proxies (``recipe.py``). Each search is 12 spread mixtures and two
rounds of 12 minimisers of posterior draws; the surrogate is told which rows share a seed.

    python benchmarks/seed_blocks.py --json benchmarks/results/seed_blocks.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mixopt.space import Layout
from mixopt.surrogate import SurrogateSettings, fit_surrogate

DOMAINS, METRICS = ("a", "b", "c", "d", "e"), ("first", "second")
WEIGHTS = np.array([0.6, 0.4])
#: Standard deviations (nats/token) of what a seed does to all mixtures, to one, and of the rest.
COMMON, SMOOTH, REST = 0.010, 0.007, 0.005
ROUND, ROUNDS = 12, 3
EFFORT = SurrogateSettings(restarts=2, iterations=60, laws=(), gp_iterations=40, folds=3)


class World:
    """A truth, and the luck of each seed."""

    def __init__(self, number: int, blocks: int) -> None:
        rng = np.random.default_rng([number, 0])
        self.pool = rng.dirichlet(np.ones(len(DOMAINS)), 1500)
        self.slope = rng.uniform(0.5, 4.0, (2, len(DOMAINS))) * rng.integers(0, 2, (2, 5))
        self.bend = rng.uniform(0.2, 1.0, (2, len(DOMAINS)))
        self.best = rng.dirichlet(np.full(len(DOMAINS), 4.0), 2)
        self.blocks, self.number = blocks, number
        self._rest = np.random.default_rng([number, 1, blocks])

    def truth(self, X: np.ndarray) -> np.ndarray:
        """Losses ``n x 2`` without luck."""
        law = 0.3 * np.exp(-X @ self.slope.T)
        bowl = (X[:, None] - self.best) ** 2 * self.bend
        return np.asarray(3.0 + law + bowl.sum(-1))

    def objective(self, X: np.ndarray) -> np.ndarray:
        """What is minimised, ``n``."""
        return self.truth(X) @ WEIGHTS

    def seen(self, X: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """Losses ``n x 2`` of runs with seeds ``n``."""
        luck = np.stack([self._luck(x, s) for x, s in zip(X, seeds, strict=True)])
        return self.truth(X) + luck + REST * self._rest.standard_normal(luck.shape)

    def _luck(self, x: np.ndarray, seed: int) -> np.ndarray:
        rng = np.random.default_rng([self.number, 2, self.blocks, int(seed)])
        common = COMMON * rng.standard_normal()
        tilt = rng.standard_normal((2, len(DOMAINS)))
        # Weights of a Dirichlet draw lie about .37 from their mean; a tilt of 1 gives SMOOTH there.
        return common + SMOOTH * (tilt @ (x - 0.2)) / 0.37


def search(number: int, blocks: int) -> dict[str, float]:
    """One search: its regret, and how far the truth lies from what it predicts in sds."""
    world = World(number, blocks)
    rng = np.random.default_rng([number, 3])
    baseline = np.full((1, len(DOMAINS)), 0.2)
    X = np.vstack([baseline, world.pool[rng.choice(len(world.pool), ROUND - 1, replace=False)]])
    seeds = np.arange(len(X)) % blocks
    Y = world.seen(X, seeds)
    for _ in range(ROUNDS - 1):
        fitted = _fit(X, Y, seeds, number)
        draws = fitted.sample_paths(ROUND, number)(torch.as_tensor(world.pool))
        new = world.pool[(draws.detach().numpy() @ WEIGHTS).argmin(1)]
        fresh = (len(X) + np.arange(ROUND)) % blocks
        X, Y = np.vstack([X, new]), np.vstack([Y, world.seen(new, fresh)])
        seeds = np.concatenate([seeds, fresh])
    fitted = _fit(X, Y, seeds, number)
    chosen = world.pool[[(fitted.predict(world.pool).mean @ WEIGHTS).argmin()]]
    truth = world.objective(np.vstack([chosen, baseline]))
    posterior = fitted.posterior(torch.as_tensor(np.vstack([chosen, baseline]))).distribution
    mean, cov = (
        posterior.mean.detach().numpy().ravel(),
        posterior.covariance_matrix.detach().numpy(),
    )
    level, gain = np.concatenate([WEIGHTS, 0 * WEIGHTS]), np.concatenate([WEIGHTS, -WEIGHTS])
    return {
        "regret": float(truth[0] - world.objective(world.pool).min()),
        "loss_error": float(level @ mean - truth[0]),
        "loss_sd": float(np.sqrt(level @ cov @ level)),
        "gain_error": float(gain @ mean - (truth[0] - truth[1])),
        "gain_sd": float(np.sqrt(gain @ cov @ gain)),
    }


def _fit(X: np.ndarray, Y: np.ndarray, seeds: np.ndarray, number: int) -> Any:
    layout = Layout(len(DOMAINS))
    return fit_surrogate(layout, X, Y, METRICS, DOMAINS, groups=seeds, seed=number, settings=EFFORT)


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Means over worlds, and the share of 95 % intervals that held."""
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    found = {
        "regret": table["regret"].mean(),
        "regret_se": table["regret"].std(ddof=1) / np.sqrt(len(rows)),
    }
    for what in ("loss", "gain"):
        inside = np.abs(table[f"{what}_error"]) <= 1.96 * table[f"{what}_sd"]
        found[f"{what}_rmse"] = np.sqrt((table[f"{what}_error"] ** 2).mean())
        found[f"{what}_covered"] = inside.mean()
        found[f"{what}_sd"] = table[f"{what}_sd"].mean()
    return {name: round(float(value), 5) for name, value in found.items()}


def arms(worlds: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Numbers of blocks, and a seed for each trial."""
    for blocks in (1, 2, 3, 4, ROUND * ROUNDS):
        name = f"{blocks} blocks" if blocks < ROUND * ROUNDS else "own seeds"
        yield name, summary([search(number, blocks) for number in range(worlds)])


def main() -> None:
    """Print a row per number of blocks, and keep them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--worlds", type=int, default=24)
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    kept = {}
    for name, row in arms(given.worlds):
        kept[name] = row
        print(name, row, flush=True)
        if given.json is not None:
            facts = {"worlds": given.worlds, "arms": kept}
            given.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
