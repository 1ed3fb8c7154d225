"""Trials of a run as runs of MLflow or W&B, one each, as they are reached."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol

from mixopt.errors import StudyError
from mixopt.space import Observation, Trial
from mixopt.study import State, TrialRecord

TrackerName = Literal["mlflow", "wandb"]


class Tracker(Protocol):
    """One tool that keeps runs."""

    def start(self, trial: Trial) -> Any:
        """Open a run."""

    def log(self, run: Any, tokens: int, values: dict[str, float]) -> None:
        """Keep the metrics of one rung of a run."""

    def end(self, run: Any, well: bool) -> None:
        """Close a run."""


class Tracking:
    """Passes trials on to the tools; one that fails is told of and not used any more.

    Args:
        trackers: The tools by name.
        say: Told which tool failed, and why.
    """

    def __init__(self, trackers: Mapping[str, Tracker], say: Callable[[str], None]) -> None:
        self._trackers = dict(trackers)
        self._say = say
        self._runs: dict[tuple[str, str], Any] = {}

    def started(self, trial: Trial) -> None:
        """A worker has taken a trial."""
        for name, tool in list(self._trackers.items()):
            with self._noticed(name):
                self._runs[name, trial.id] = tool.start(trial)

    def reached(self, trial: str, rows: Sequence[Observation]) -> None:
        """A trial has reached rungs."""
        for name, tool in list(self._trackers.items()):
            with self._noticed(name):
                if (name, trial) in self._runs:
                    _log(tool, self._runs[name, trial], rows)

    def ended(self, record: TrialRecord) -> None:
        """A trial has ended, or waits again."""
        well = record.state in (State.finished, State.ended_early)
        for name, tool in list(self._trackers.items()):
            with self._noticed(name):
                if (name, record.trial.id) in self._runs:
                    tool.end(self._runs.pop((name, record.trial.id)), well)

    @contextmanager
    def _noticed(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a search must not end for what watches it
            del self._trackers[name]
            reason = " ".join(str(error).split())
            self._say(f"{name} keeps no more trials: {type(error).__name__}: {reason}")


def _log(tool: Tracker, run: Any, rows: Iterable[Observation]) -> None:
    rungs: dict[int, dict[str, float]] = {}
    for row in rows:
        rungs.setdefault(row.tokens, {})[row.metric] = row.value
    for tokens, values in sorted(rungs.items()):
        tool.log(run, tokens, values)


def facts_of(trial: Trial) -> dict[str, str | int | float]:
    """A trial as flat settings: weights by phase and domain, size, tokens, seed."""
    found: dict[str, str | int | float] = {
        "kind": trial.kind.value,
        "round": trial.round,
        "seed": trial.seed,
        "parameters": trial.fidelity.parameters,
        "tokens": trial.fidelity.tokens,
    }
    for phase in trial.schedule.phases:
        found[f"{phase.name}.fraction"] = phase.fraction
        found |= {f"{phase.name}.{domain}": w for domain, w in phase.mixture.items()}
    return found


class MlflowTracker:
    """Runs of the experiment of a study, where ``MLFLOW_TRACKING_URI`` says.

    Args:
        study: Name of the study.
    """

    def __init__(self, study: str) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient()
        known = self._client.get_experiment_by_name(study)
        self._experiment = (
            known.experiment_id if known is not None else self._client.create_experiment(study)
        )

    def start(self, trial: Trial) -> str:
        """Open a run with the trial's settings."""
        from mlflow.entities import Param

        made = self._client.create_run(self._experiment, run_name=trial.id)
        run = str(made.info.run_id)
        params = [Param(key, str(value)) for key, value in facts_of(trial).items()]
        # The most that one request may hold.
        for k in range(0, len(params), 100):
            self._client.log_batch(run, params=params[k : k + 100])
        self._client.set_tag(run, "schedule", json.dumps(trial.schedule.model_dump(mode="json")))
        return run

    def log(self, run: str, tokens: int, values: dict[str, float]) -> None:
        """Keep metrics at the step of their tokens."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(run, [Metric(m, v, now, tokens) for m, v in values.items()])

    def end(self, run: str, well: bool) -> None:
        """Close a run."""
        self._client.set_terminated(run, "FINISHED" if well else "FAILED")


class WandbTracker:
    """Runs of the project of a study, where W&B's own variables say.

    Args:
        study: Name of the study.
    """

    def __init__(self, study: str) -> None:
        import wandb

        self._wandb = wandb
        self._study = study

    def start(self, trial: Trial) -> Any:
        """Open a run with the trial's settings."""
        run = self._wandb.init(
            project=self._study,
            name=trial.id,
            config=facts_of(trial),
            reinit="create_new",
            settings=self._wandb.Settings(silent=True),
        )
        run.define_metric("*", step_metric="tokens")
        return run

    def log(self, run: Any, tokens: int, values: dict[str, float]) -> None:
        """Keep metrics beside their tokens."""
        run.log({**values, "tokens": tokens})

    def end(self, run: Any, well: bool) -> None:
        """Close a run."""
        run.finish(exit_code=0 if well else 1)


_KINDS: dict[TrackerName, Callable[[str], Tracker]] = {
    "mlflow": MlflowTracker,
    "wandb": WandbTracker,
}


def trackers(names: Iterable[TrackerName], study: str) -> dict[str, Tracker]:
    """The tools that keep the trials of a study.

    Raises:
        StudyError: If one is not installed, or cannot be used.
    """
    found: dict[str, Tracker] = {}
    for name in names:
        try:
            found[name] = _KINDS[name](study)
        except ModuleNotFoundError:
            raise StudyError(
                f"keeping trials in {name} needs a package that is not installed",
                f"pip install 'mixopt[{name}]', or leave {name} out of `trackers`",
            ) from None
        except Exception as error:  # what a server that is away or refuses makes of it
            raise StudyError(
                f"{name} cannot be used: {' '.join(str(error).split())}",
                f"check its settings, or leave {name} out of `trackers`",
            ) from None
    return found
