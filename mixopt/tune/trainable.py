"""One trial as a Ray Tune trainable: the study's storage is the truth, Tune only schedules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ray import tune

from mixopt.space import Trainer
from mixopt.study import Study, run_trial

TRIAL = "trial"


@dataclass(frozen=True)
class Work:
    """What a worker needs to know; sent to it once.

    Attributes:
        storage: URL of the study's storage.
        study: Its name.
        owner: Token of the run; a worker that outlives its run is refused by the storage.
        trainer: Runs the trials.
    """

    storage: str
    study: str
    owner: str
    trainer: Trainer


class TrialWorker(tune.Trainable):
    """Runs trials one after the other, each in a single step.

    A trial that is stored as finished or failed is skipped, so whatever Tune starts again does no
    harm; results are in the storage before Tune hears of them.
    """

    def setup(self, config: dict[str, Any], **given: Work) -> None:
        """Open a connection of this worker's own; ``work`` is all that is given."""
        self._trial = config[TRIAL]
        self._work = work = given["work"]
        self._study = Study.open(work.storage, work.study)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial without a new process."""
        self._trial = new_config[TRIAL]
        return True

    def step(self) -> dict[str, Any]:
        """Run the whole trial."""
        trial = self._study.record_of(self._trial).trial
        run_trial(self._study, self._work.trainer, trial, self._work.owner)
        return {"done": True, TRIAL: trial.id}

    def cleanup(self) -> None:
        """Give the connection back."""
        self._study.store.close()
