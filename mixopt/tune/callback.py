"""What Tune tells us as trials start and end."""

# Tune fixes the signatures.
# ruff: noqa: ARG002

from __future__ import annotations

from typing import Any

from ray.tune import Callback

from mixopt.study import Study
from mixopt.tune.progress import Progress
from mixopt.tune.trainable import TRIAL


class ProgressCallback(Callback):
    """Passes starts and ends on to the progress display.

    Args:
        study: Read for the results.
        progress: Shown.
    """

    def __init__(self, study: Study, progress: Progress) -> None:
        self._study = study
        self._progress = progress

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks for a restore that never happens; connections cannot be.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker has taken a trial."""
        self._progress.started(self._study.record_of(trial.config[TRIAL]).trial)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has ended and its results are stored."""
        state = self._study.state()
        record = state.record_of(trial.config[TRIAL])
        self._progress.ended(record, state.value_of(record))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker has died."""
        record = self._study.record_of(trial.config[TRIAL])
        self._progress.died(record.trial)
