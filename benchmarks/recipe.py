r"""How much of a proxy's loss is luck, recipe by recipe.

Every recipe trains the same mixtures with the same seeds. What counts is the standard deviation
over seeds of the difference between two mixtures: paired (both trained with the same seed, as the
trials of a study are) and with a seed for each. A recipe must also leave the order of mixtures as a
larger and longer run has it; give the larger size to a second run and compare the orders.

    mixopt corpus build local_corpus --out runs/corpus-local
    python benchmarks/recipe.py --corpus runs/corpus-local --out benchmarks/results/recipe.json
    python benchmarks/recipe.py --corpus runs/corpus-local --recipes kept --seeds 1 \
        --parameters 393216 --tokens 1600000 --out benchmarks/results/recipe_large.json
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch

from mixopt.corpus import Corpus
from mixopt.proxy import ProxySettings, ProxyTrainer
from mixopt.proxy.unigram import unigram_bias
from mixopt.space import Fidelity, LearningRate, Objective, Observation, Schedule, Trial


class Recipe(NamedTuple):
    """What differs between recipes."""

    bias: bool
    beta: float
    warmup: float


RECIPES = {
    "before": Recipe(bias=False, beta=0.9, warmup=0.2),
    "kept": Recipe(bias=True, beta=0.8, warmup=0.05),
    "bias, beta .8": Recipe(bias=True, beta=0.8, warmup=0.2),
    "unigram bias": Recipe(bias=True, beta=0.9, warmup=0.2),
}
MIXTURES = {
    "recommended": {"python": 0.44, "cpp": 0.26, "prose": 0.26, "stubs": 0.025, "data": 0.015},
    "60 % python": {"python": 0.60, "cpp": 0.22, "prose": 0.16, "stubs": 0.015, "data": 0.005},
    "natural": {},
    "half cpp": {"python": 0.30, "cpp": 0.50, "prose": 0.15, "stubs": 0.03, "data": 0.02},
    "uniform": {"python": 0.2, "cpp": 0.2, "prose": 0.2, "stubs": 0.2, "data": 0.2},
}


def objective_of(corpus: Corpus) -> Objective:
    """The demo's: half the natural weights, half python."""
    weights = {name: share / 2 for name, share in corpus.natural_weights().items()}
    weights["python"] += 0.5
    return Objective(weights=weights)


def loss(corpus: Corpus, recipe: Recipe, mixture: str, fidelity: Fidelity, seed: int) -> float:
    """The objective at the end of one run (nats/token)."""
    settings = ProxySettings(
        betas=(recipe.beta, 0.95),
        schedule=LearningRate(warmup=recipe.warmup, decay=0.3),
        rungs=(1.0,),
    )
    schedule = Schedule.static(MIXTURES[mixture] or corpus.natural_weights())
    trial = Trial(id="run", schedule=schedule, fidelity=fidelity, seed=seed)
    seen: list[Observation] = []
    bias = unigram_bias if recipe.bias else lambda _texts, size: torch.zeros(size)
    with patch("mixopt.proxy.trainer.unigram_bias", bias):
        ProxyTrainer(corpus, settings).run(trial, seen.extend)
    return objective_of(corpus).value({o.metric: o.value for o in seen})


def differences(runs: dict[str, list[float]]) -> Iterator[dict[str, Any]]:
    """Per pair of mixtures, the mean difference and its sd paired by seed and unpaired."""
    for one, other in itertools.combinations(runs, 2):
        a, b = np.array(runs[one]), np.array(runs[other])
        yield {
            "of": [one, other],
            "mean": round(float((a - b).mean()), 4),
            "sd_paired": round(float((a - b).std(ddof=1)), 4),
            "sd_own_seeds": round(float(np.hypot(a.std(ddof=1), b.std(ddof=1))), 4),
        }


def main() -> None:
    """Train, print a line per run, and keep losses and differences."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--corpus", type=Path, required=True, help="folder of a built corpus")
    options.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    options.add_argument("--mixtures", nargs="+", default=list(MIXTURES), choices=list(MIXTURES))
    options.add_argument("--seeds", type=int, default=6)
    options.add_argument("--parameters", type=int, default=98_304)
    options.add_argument("--tokens", type=int, default=400_000)
    options.add_argument("--out", type=Path, required=True)
    given = options.parse_args()
    corpus = Corpus.open(given.corpus)
    fidelity = Fidelity(parameters=given.parameters, tokens=given.tokens)
    kept: dict[str, Any] = {"fidelity": fidelity.model_dump(), "recipes": {}}
    for name in given.recipes:
        runs: dict[str, list[float]] = {mixture: [] for mixture in given.mixtures}
        for seed, mixture in itertools.product(range(given.seeds), given.mixtures):
            runs[mixture].append(loss(corpus, RECIPES[name], mixture, fidelity, seed))
            print(f"{name:14s} {mixture:12s} seed {seed}: {runs[mixture][-1]:.4f}", flush=True)
        rounded = {m: [round(v, 4) for v in values] for m, values in runs.items()}
        pairs = list(differences(runs)) if given.seeds > 1 else []
        kept["recipes"][name] = {**RECIPES[name]._asdict(), "losses": rounded, "pairs": pairs}
        # Written after each recipe: a run of all takes long.
        given.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
