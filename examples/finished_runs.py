"""Recommend from runs that are already finished: two CSV files, no training.

``python examples/finished_runs.py [FOLDER]`` keeps the tables, the schedule and a report with
figures in FOLDER (runs/finished_runs).
"""

import csv
import math
import random
import sys
from pathlib import Path

import mixopt
from mixopt.report import write_fit

random.seed(0)
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/finished_runs")
folder.mkdir(parents=True, exist_ok=True)
ratios, metrics = folder / "ratios.csv", folder / "metrics.csv"
with ratios.open("w", newline="") as left, metrics.open("w", newline="") as right:
    weights, losses = csv.writer(left), csv.writer(right)
    weights.writerow(["run", "web", "code", "math"])
    losses.writerow(["run", "web_loss", "code_loss"])
    for run in range(24):
        draw = [random.expovariate(1) for _ in range(3)]
        web, code, math_ = (v / sum(draw) for v in draw)
        weights.writerow([run, web, code, math_])
        losses.writerow(
            [
                run,
                2 + math.exp(-2 * web - math_) + random.gauss(0, 0.003),
                1 + math.exp(-3 * code - 0.5 * math_) + random.gauss(0, 0.003),
            ]
        )
fitted = mixopt.fit(ratios, metrics, objective={"web": 0.5, "code": 0.5})

answer = fitted.recommendation
print(
    "the recommended mixture:",
    answer.schedule.base,
    answer.predicted,
    answer.best_observed,
    sep="\n",
)
print("wrote", *write_fit(fitted, folder), sep="\n")
assert answer.predicted.mean < answer.baseline.mean
