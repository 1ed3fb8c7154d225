r"""Does the interval of a recommendation hold where all trials share their base phase?

Studies of real small models (98k parameters) continue a fixed base mixture: only the ending is
searched. Each study has its own seed; three objectives take turns. The recommendation is trained
with fresh seeds, and the mean objective of those runs is held against the predicted interval, both
on the validation split that the search used.

    mixopt corpus build local_corpus --out runs/corpus-local
    python benchmarks/trunk_intervals.py --corpus runs/corpus-local \
        --json benchmarks/results/trunk_intervals.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from mixopt.proxy import ProxySettings, ProxyTrainer
from mixopt.space import Fidelity, LearningRate, PhaseSpace, SearchSpace
from mixopt.study import Study, TrialBudget

OBJECTIVES = (
    {"cpp": 0.25, "prose": 0.25, "python": 0.5},
    {"cpp": 0.4, "prose": 0.4, "python": 0.2},
    {"prose": 0.5, "python": 0.5},
)
BASE = {"cpp": 0.5, "prose": 0.5}


def make_space() -> SearchSpace:
    """A fixed base of old text, annealed, then an ending of free mixture with a re-warmed rate."""
    base = PhaseSpace(
        name="base",
        fixed=BASE,
        fraction=0.6,
        learning_rate=LearningRate(warmup=0.08, decay=0.4, final=0.1),
    )
    ending = PhaseSpace(
        name="continual",
        fraction=0.4,
        learning_rate=LearningRate(warmup=0.05, start=0.1, decay=0.95, final=0.1),
    )
    return SearchSpace(
        domains=("cpp", "prose", "python"), phases=(base, ending), baseline="uniform"
    )


def one_study(number: int, corpus: Path, trials: int, tokens: int) -> dict[str, Any]:
    """Search, recommend and confirm; what was predicted beside what came true."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = ProxyTrainer(corpus, ProxySettings(rungs=(0.6, 1.0)), Path(folder, "trunks"))
        study = Study(
            f"fixed base {number}",
            make_space(),
            OBJECTIVES[number % len(OBJECTIVES)],
            fidelity=Fidelity(parameters=98_304, tokens=tokens),
            storage=Path(folder, "study.db"),
            seed=number,
            budget=TrialBudget(trials=trials),
            confirm_seeds=3,
        )
        found = study.optimize(trainer, confirm=True)
    runs = next(c for c in found.confirmations if c.label == "recommendation")
    fresh = float(np.mean(list(runs.search_values.values())))
    predicted = found.predicted
    row = {
        "low": predicted.low,
        "predicted": predicted.mean,
        "high": predicted.high,
        "fresh": fresh,
    }
    inside = bool(predicted.low <= fresh <= predicted.high)
    return {"study": number, **{k: round(v, 3) for k, v in row.items()}, "inside": inside}


def main() -> None:
    """Print one row per study and the share of intervals that held."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--corpus", type=Path, required=True, help="folder of a built corpus")
    options.add_argument("--studies", type=int, default=12)
    options.add_argument("--trials", type=int, default=20)
    options.add_argument("--tokens", type=int, default=100_000)
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    work = partial(one_study, corpus=given.corpus, trials=given.trials, tokens=given.tokens)
    rows = []
    with ProcessPoolExecutor(given.processes, mp_context=get_context("spawn")) as pool:
        for row in pool.map(work, range(given.studies)):
            rows.append(row)
            print(
                f"study {row['study']:2d}: predicted {row['predicted']:.3f} "
                f"[{row['low']:.3f}, {row['high']:.3f}], confirmed {row['fresh']:.3f} "
                f"{'inside' if row['inside'] else 'OUTSIDE'}",
                flush=True,
            )
    held = sum(row["inside"] for row in rows)
    width = float(np.mean([row["high"] - row["low"] for row in rows]))
    print(f"{held} of {len(rows)} intervals held; mean width {width:.3f} nats/token")
    if given.json is not None:
        kept = {"trials": given.trials, "tokens": given.tokens, "held": held, "studies": rows}
        given.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
