"""How well the surrogate predicts held-out RegMix runs from a few of the 512 training mixtures.

Each repeat trains on a subset (drawn at random, or chosen beforehand by max-min distance in the
square root of the weights) and predicts the 256 test mixtures and the unused training mixtures.
The test rows are used for nothing else. Figures are means over 13 metrics and the repeats.

    python benchmarks/surrogate_regmix.py --train 32,64,128 --repeats 5 --design random,maxmin \
        --json benchmarks/results/surrogate_regmix.json
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from mixopt.space import Layout
from mixopt.surrogate import Surrogate, fit_surrogate

FLOOR_SPEARMAN = 0.985


def data_folder() -> Path:
    """The tables of real runs: $MIXOPT_DATA, or shared/data beside the repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("MIXOPT_DATA", default)) / "regmix"


def load(split: str) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """Weights (renormalised), losses, domains and metrics of one split."""
    folder = data_folder()
    table = pd.read_csv(folder / f"{split}_mixture_1m.csv").merge(
        pd.read_csv(folder / f"{split}_pile_loss_1m.csv"), on="index"
    )
    weights = [c for c in table if c.startswith("train_the_pile_")]
    losses = [c for c in table if c.startswith("metric/the_pile_")]
    X = table[weights].to_numpy(dtype=float)
    domains = [c.removeprefix("train_the_pile_") for c in weights]
    metrics = [c.removeprefix("metric/the_pile_").removesuffix("_val_loss") for c in losses]
    return X / X.sum(1, keepdims=True), table[losses].to_numpy(dtype=float), domains, metrics


def choose(X: np.ndarray, n: int, design: str, seed: int) -> np.ndarray:
    """Rows to train on."""
    rng = np.random.default_rng(seed)
    if design == "random":
        return rng.choice(len(X), n, replace=False)
    root = np.sqrt(X)
    chosen = [int(rng.integers(len(X)))]
    distance = ((root - root[chosen[0]]) ** 2).sum(1)
    while len(chosen) < n:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, ((root - root[chosen[-1]]) ** 2).sum(1))
    return np.array(chosen)


def judge(surrogate: Surrogate, X: np.ndarray, Y: np.ndarray) -> dict[str, float]:
    """Spearman, MSE and coverage of 95 % intervals, means over metrics."""
    p = surrogate.predict(X)
    ranks = [spearmanr(p.mean[:, i], Y[:, i])[0] for i in range(Y.shape[1])]
    inside = np.abs(p.mean - Y) <= 1.96 * p.observation_sd
    return {
        "spearman": float(np.mean(ranks)),
        "mse": float(((p.mean - Y) ** 2).mean()),
        "coverage95": float(inside.mean()),
    }


def run(n: int, design: str, repeats: int) -> dict[str, float | int | str]:
    """One line of the table."""
    X, Y, domains, metrics = load("train")
    X_test, Y_test, _, _ = load("test")
    rows = []
    for seed in range(repeats):
        chosen = choose(X, n, design, seed)
        rest = np.setdiff1d(np.arange(len(X)), chosen)
        clock, cpu = time.perf_counter(), time.process_time()
        fitted = fit_surrogate(
            Layout(X.shape[1]), X[chosen], Y[chosen], metrics, domains, seed=seed
        )
        clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
        unused = {f"unused {k}": v for k, v in judge(fitted, X[rest], Y[rest]).items()}
        rows.append(judge(fitted, X_test, Y_test) | unused | {"seconds": clock, "cpu seconds": cpu})
    means = pd.DataFrame(rows).mean().to_dict()
    return {"train": n, "design": design, "repeats": repeats} | means


def main() -> None:
    """Run, print, check and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", default="64", help="numbers of training mixtures, by commas")
    parser.add_argument("--design", default="random", help="random and/or maxmin, by commas")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to keep the figures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = []
    for n in map(int, args.train.split(",")):
        for design in args.design.split(","):
            table.append(run(n, design, args.repeats))
            print(pd.DataFrame(table).round(4).to_string(index=False), flush=True)
    for row in table:
        if row["train"] == 64 and row["spearman"] < FLOOR_SPEARMAN:
            raise SystemExit(f"Spearman at 64 rows is {row['spearman']:.4f} < {FLOOR_SPEARMAN}")
    if args.json:
        command = (
            f"python benchmarks/surrogate_regmix.py --train {args.train} "
            f"--repeats {args.repeats} --design {args.design} --json {args.json}"
        )
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"command": command, "rows": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
