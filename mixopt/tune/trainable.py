"""One trial as a Ray Tune trainable: the study's storage is the truth, Tune only schedules."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ray import cloudpickle, tune
from sqlalchemy import URL

from mixopt.errors import StudyError
from mixopt.space import Trainer
from mixopt.study import Study, run_trial
from mixopt.study.storage import Lease

TRIAL = "trial"


@dataclass(frozen=True)
class Work:
    """What a worker needs to know; sent to it once.

    Attributes:
        storage: Address of the study's storage.
        study: Its name.
        leases: Of the driver, by trial; a worker that outlives them is refused by the storage.
        path: Where the driver finds its modules: workers know the script's folder only.
        trainer: Runs the trials; pickled, to be loaded once the path is known.
    """

    storage: URL
    study: str
    leases: Mapping[str, Lease]
    path: tuple[str, ...]
    trainer: bytes

    @classmethod
    def of(cls, study: Study, leases: Mapping[str, Lease], trainer: Trainer) -> Work:
        """Work on a study with a trainer.

        Raises:
            StudyError: If the trainer cannot be pickled.
        """
        try:
            packed: bytes = cloudpickle.dumps(trainer)  # type: ignore[no-untyped-call]
        except Exception as error:
            raise StudyError(
                f"the trainer cannot be sent to Ray's workers: {error}",
                "open files, locks and connections in its run method, not when it is made",
            ) from error
        return cls(study.store.address, study.name, dict(leases), tuple(sys.path), packed)

    def load(self) -> Trainer:
        """The trainer, in a worker."""
        sys.path.extend(p for p in self.path if p not in sys.path)
        return cast("Trainer", cloudpickle.loads(self.trainer))


class TrialWorker(tune.Trainable):
    """Runs trials one after the other, each in a single step.

    Each trial is written under the driver's lease, so whatever Tune starts again does no harm;
    results are in the storage before Tune hears of them.
    """

    def setup(self, config: dict[str, Any], **given: Work) -> None:
        """Open a connection of this worker's own; ``work`` is all that is given."""
        self._trial = config[TRIAL]
        work = given["work"]
        self._leases = work.leases
        self._trainer = work.load()
        self._study = Study.open(work.storage, work.study)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial without a new process."""
        self._trial = new_config[TRIAL]
        return True

    def step(self) -> dict[str, Any]:
        """Run the whole trial."""
        trial = self._study.record_of(self._trial).trial
        run_trial(self._study, self._trainer, trial, self._leases[trial.id])
        return {"done": True, TRIAL: trial.id}

    def cleanup(self) -> None:
        """Give the connection back."""
        self._study.store.close()
