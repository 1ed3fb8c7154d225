"""Wall time outside trials when a study runs on Ray: ``ray_overhead.py [SECONDS] [FOLDER]``.

Trials sleep, so their length does not depend on the machine, and import torch as the proxy does;
what is measured is everything else: Ray's start, workers, fits, proposals and the stopping rule.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from mixopt.space import Fidelity, Schedule, SearchSpace
from mixopt.study import CallableTrainer, Study, TrialBudget
from mixopt.tune import Progress, run_rounds

NAMES = ("web", "code", "books", "maths")


@dataclass(frozen=True)
class Sleep:
    """A trial of a fixed length with a loss that has one minimum."""

    seconds: float

    def __call__(self, schedule: Schedule, _fidelity: Fidelity, seed: int) -> dict[str, float]:
        """Import what the proxy needs, sleep, and return the loss."""
        import torch

        gap = schedule.exposure().to_array(NAMES) - [0.6, 0.3, 0.1, 0.0]
        noise = torch.randn(1, generator=torch.Generator().manual_seed(seed)).item()
        time.sleep(self.seconds)
        return {"loss": 2 + float(gap @ gap) + 0.01 * noise}


def main(seconds: float, folder: Path) -> None:
    """Three rounds of 8, 6 and 6 trials, then confirmation runs."""
    study = Study(
        "overhead",
        SearchSpace(domains=NAMES, baseline="uniform"),
        {"loss": 1.0},
        storage=folder / "study.db",
        budget=TrialBudget(trials=20),
        initial=8,
        batch=6,
    )
    trainer = CallableTrainer(Sleep(seconds))
    print(run_rounds(study, trainer, out=folder, progress=Progress(total=20)))


if __name__ == "__main__":
    length = float(sys.argv[1]) if len(sys.argv) > 1 else 12.0
    if len(sys.argv) > 2:
        main(length, Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(length, Path(scratch))
