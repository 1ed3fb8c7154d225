"""One Tuner over a driver's trials: Tune starts workers, and asks for a trial per free slot."""

# Tune fixes the signatures.
# ruff: noqa: ARG002

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune
from ray.tune import Callback, Stopper
from ray.tune.search import Searcher

from mixopt.errors import MixoptError
from mixopt.space import Observation
from mixopt.tune.driver import Driver
from mixopt.tune.trainable import COST, REASON, ROWS, SPEC, TRIAL, TrialWorker, Work


def tune_trials(driver: Driver, slots: int, work: Work) -> None:
    """Run the driver's trials on Ray until it has none that it may run, or ends with an error.

    Args:
        driver: Hands out the trials and keeps what they report.
        slots: Trials at a time.
        work: What workers are sent.

    Raises:
        MixoptError: If the study cannot go on.
    """
    trainable = tune.with_parameters(TrialWorker, work=work)
    tuner = tune.Tuner(
        tune.with_resources(trainable, dict(driver.resources)),
        tune_config=tune.TuneConfig(
            search_alg=_Leasing(driver),
            num_samples=-1,
            max_concurrent_trials=slots,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=f"{driver.study.name}-{uuid.uuid4().hex[:8]}",
            storage_path=str(driver.out / "ray"),
            verbose=0,
            stop=_Stop(driver),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[_Recorder(driver)],
        ),
    )
    tuner.fit()
    if driver.error is not None:
        raise driver.error


class _Leasing(Searcher):
    """Gives Tune a leased trial per free slot."""

    def __init__(self, driver: Driver) -> None:
        super().__init__(metric=TRIAL, mode="min")
        self._driver = driver

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next trial; None while the last ones of a round run."""
        try:
            trial = None if self._driver.error else self._driver.next_trial()
        except MixoptError as error:
            # Raised here it would reach the user as an error of Tune.
            self._driver.error = error
            trial = None
        if trial is None:
            return Searcher.FINISHED if self._driver.idle else None  # type: ignore[return-value]
        return {TRIAL: trial.id, SPEC: trial.model_dump_json()}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing to do: the recorder hears of ends with their trial."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study's storage has it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: trials that were open are leased again."""


class _Recorder(Callback):
    """Passes what Tune hears of trials on to the driver."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker has taken a trial."""
        self._driver.started(trial.config[TRIAL])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial has reached rungs, or its end."""
        name = trial.config[TRIAL]
        self._driver.reached(name, [Observation(**row) for row in json.loads(result[ROWS])])
        if REASON in result:
            self._driver.ended(name, result[REASON], json.loads(result[COST]))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker has died."""
        self._driver.died(trial.config[TRIAL], _reason(_error_of(trial)))


class _Stop(Stopper):
    """Ends the Tuner, running trials included, when the driver has met an error."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is ended alone."""
        return False

    def stop_all(self) -> bool:
        """Whether everything is to end."""
        return self._driver.error is not None


def _trial_name(trial: Any) -> str:
    """The study's own id: Tune's default name embeds every parameter."""
    return str(trial.config[TRIAL])


def _error_of(trial: Any) -> BaseException | None:
    """What Tune has just written down; its own reader looks where the file is copied to later."""
    path = Path(trial.pickled_error_file or "")
    if not path.is_file():
        return None
    found: BaseException = cloudpickle.loads(path.read_bytes())
    return found


def _reason(error: BaseException | None) -> str:
    if error is None:
        return "no reason given"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Ray puts the cause last in a traceback, and first in a death notice.
    line = lines[-1] if lines and lines[0].startswith("\x1b[36m") else (lines or ["no message"])[0]
    return f"{type(error).__name__}: {line}"
