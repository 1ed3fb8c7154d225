"""What Tune tells the driver as trials go on: kept in the study under the driver's leases."""

# Tune fixes the signatures.
# ruff: noqa: ARG002

from __future__ import annotations

import json
from typing import Any

from ray.tune import Callback

from mixopt.errors import MixoptError
from mixopt.space import Observation
from mixopt.study import Study
from mixopt.tune.progress import Progress
from mixopt.tune.trainable import COST, REASON, ROWS, TRIAL


class Recorder(Callback):
    """Stores rungs, ends and costs as they arrive, and passes them on to the progress display.

    Args:
        study: Holds the leases of the trials.
        progress: Shows them.

    Attributes:
        refused: Per trial, why the study did not take a result.
    """

    def __init__(self, study: Study, progress: Progress) -> None:
        self._study = study
        self._progress = progress
        self.refused: dict[str, MixoptError] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks for a restore that never happens; connections cannot be.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker has taken a trial."""
        self._progress.started(self._study.record_of(trial.config[TRIAL]).trial)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial has reached rungs, or its end."""
        name = trial.config[TRIAL]
        if name in self.refused:
            return
        try:
            self._keep(name, result)
        except MixoptError as error:
            # Raised here it would end the whole round for the fault of one trial.
            self.refused[name] = error

    def _keep(self, name: str, result: dict[str, Any]) -> None:
        rows = [Observation(**row) for row in json.loads(result[ROWS])]
        if rows:
            self._study.record(name, rows)
        if REASON not in result:
            return
        reason = result[REASON]
        if not reason:
            try:
                self._study.finish(name)
            except MixoptError as error:
                reason = error.message
        if reason:
            self._study.fail(name, reason)
        elif (cost := json.loads(result[COST])) is not None:
            self._study.add_event("cost", cost)
        state = self._study.state()
        record = state.record_of(name)
        self._progress.ended(record, state.value_of(record))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker has died."""
        self._progress.died(self._study.record_of(trial.config[TRIAL]).trial)
