"""Recommend from runs that are already finished: two CSV files, no training."""

import csv
import math
import random
import tempfile
from pathlib import Path

import mixopt

random.seed(0)
with tempfile.TemporaryDirectory() as folder:
    ratios, metrics = Path(folder) / "ratios.csv", Path(folder) / "metrics.csv"
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
print(answer.schedule.base, answer.predicted, answer.best_observed, sep="\n")
assert answer.predicted.mean < answer.baseline.mean
