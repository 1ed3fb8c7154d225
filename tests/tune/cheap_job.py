"""A study of cheap, deterministic trials under Ray, to be killed: cheap_job.py DIR."""

import sys
import time
from pathlib import Path

import torch

from mixopt.space import SearchSpace
from mixopt.study import CallableTrainer, Study, TrialBudget
from mixopt.tune import Progress, run_rounds

NAMES = ("web", "code", "books")


class Train:
    """A loss with one minimum; each start and end is a line in a log."""

    def __init__(self, log, seconds=0.3):
        self.log, self.seconds = str(log), seconds

    def __call__(self, schedule, fidelity, seed):
        self.note("start", seed)
        gap = schedule.exposure().to_array(NAMES) - [0.6, 0.3, 0.1]
        loss = 2 + float(gap @ gap) + 1e-5 * (seed % 100)
        yield {"tokens": fidelity.tokens // 2, "loss": loss + 1}
        time.sleep(self.seconds)
        yield {"loss": loss}
        self.note("end", seed)

    def note(self, what, seed):
        # One write of a short line in append mode: two workers never mix their lines.
        with open(self.log, "a") as file:
            file.write(f"{what} {seed}\n")


def make_study(folder):
    space = SearchSpace(domains=NAMES, baseline="uniform")
    budget = TrialBudget(trials=10, rounds=2)
    return Study(
        "cheap",
        space,
        {"loss": 1.0},
        storage=Path(folder) / "study.db",
        budget=budget,
        initial=6,
        batch=4,
        confirm_seeds=2,
        # A seed of its own for every trial: the log tells trials apart by it.
        seed_blocks=10,
    )


def main(folder):
    # One thread, so that sums are taken in the same order in every process.
    torch.set_num_threads(1)
    trainer = CallableTrainer(Train(Path(folder) / "log"))
    summary = run_rounds(make_study(folder), trainer, out=folder, progress=Progress())
    print(summary.recommendation.model_dump_json())


if __name__ == "__main__":
    main(sys.argv[1])
