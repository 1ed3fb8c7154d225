"""Whether the law of phases should count tokens or summed learning rate, out of fold.

python benchmarks/rate_clock.py runs/demo > benchmarks/results/rate_clock.json
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mixopt.space import geometry_of
from mixopt.study import Study
from mixopt.study.results.final_values import build_evidence
from mixopt.surrogate import fit_surrogate

SEEDS = 3


def main(folder: str) -> None:
    """Print out-of-fold figures with and without the clock, mean of the metrics, per seed."""
    torch.set_num_threads(1)
    study = Study.open(Path(folder) / "study.db")
    seen = build_evidence(study.state(), extra=True)
    layout, out = geometry_of(study.space).layout, {}
    assert layout.clock is not None, "the study's learning rate must fall"
    for name, used in (("tokens", replace(layout, clock=None)), ("summed rate", layout)):
        rows = []
        for seed in range(SEEDS):
            fit = fit_surrogate(used, seen.X, seen.Y, seen.metrics, study.space.names, seed=seed)
            report = fit.report()
            spread = seen.Y.std(0)
            rows.append(
                {
                    "rmse / sd": np.mean([r.rmse / s for r, s in zip(report, spread, strict=True)]),
                    "spearman": np.mean([r.spearman for r in report]),
                    "coverage": np.mean([r.coverage for r in report]),
                }
            )
        out[name] = {key: [round(float(r[key]), 4) for r in rows] for key in rows[0]}
    print(json.dumps({"command": "python benchmarks/rate_clock.py runs/demo", **out}, indent=1))


if __name__ == "__main__":
    main(sys.argv[1])
