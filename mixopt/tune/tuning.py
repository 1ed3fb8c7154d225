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

from mixopt.space import Observation
from mixopt.tune.driver import Driver
from mixopt.tune.early_stop import EarlyStop
from mixopt.tune.mixture_search import TRIAL, WAITS, MixtureSearch, trials_of
from mixopt.tune.trainable import ENDS, ROWS, TrialWorker, Work


def tune_trials(driver: Driver, work: Work) -> None:
    """Run the driver's trials on Ray until all are over, or it ends with an error.

    Args:
        driver: Hands out the trials and keeps what they report.
        work: What workers are sent.

    Raises:
        MixoptError: If the study cannot go on.
    """
    trainable = tune.with_parameters(TrialWorker, work=work)
    tuner = tune.Tuner(
        tune.with_resources(trainable, dict(driver.resources)),
        tune_config=tune.TuneConfig(
            search_alg=MixtureSearch.over(driver),
            scheduler=EarlyStop(driver.study, driver.progress.say) if work.waits else None,
            num_samples=-1,
            max_concurrent_trials=driver.slots,
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


class _Recorder(Callback):
    """Passes what Tune hears of trials on to the driver."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker has taken a trial."""
        for each in trials_of(trial.config):
            self._driver.started(each.id)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial has reached rungs, or its end."""
        rows = [Observation(**row) for row in json.loads(result[ROWS])]
        for each in trials_of(trial.config):
            self._driver.reached(each.id, [row for row in rows if row.trial == each.id])
        if result.get("done") and ENDS not in result and rows:
            self._driver.stopped(str(trial.config[TRIAL]), max(row.tokens for row in rows))
        for name, (reason, cost) in json.loads(result.get(ENDS, "{}")).items():
            self._driver.ended(name, reason, cost)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker has died."""
        reason = _reason(_error_of(trial))
        for each in trials_of(trial.config):
            self._driver.died(each.id, reason)


class _Stop(Stopper):
    """Ends the Tuner, running trials included, after an error, and the waiting of workers."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether a worker that waits need not wait any more; no trial is ended."""
        return WAITS in result and not self._driver.waits

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
