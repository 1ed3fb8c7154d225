"""A trial, or a pack of them, as a Ray Tune trainable that never opens the storage."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, cast

from ray import cloudpickle, tune

from mixopt.errors import StudyError
from mixopt.space import Observation, Report, Trainer, Trial
from mixopt.study.cost import run_cost
from mixopt.study.trainers import EndEarly, require_finite, run_trainer
from mixopt.tune.mixture_search import WAITS, trials_of
from mixopt.tune.stored_tokens import ReadingTokens, StoredTokens, store_tokens

# Keys of a result: the observations since the last one as JSON; and of the last result: per trial,
# why it failed (empty where it did not) and what it cost.
ROWS, ENDS = "rows", "ends"
# A worker that has no trial yet says so each so many seconds.
WAIT_SECONDS = 0.25


@dataclass(frozen=True)
class Work:
    """What a worker needs to know; sent to it once.

    Attributes:
        path: Where the driver finds its modules: workers know the script's folder only.
        trainer: Runs the trials; pickled, to be loaded once the path is known.
        logs: Folder of the trials' output, on the node that runs them.
        tokens: In place of the trainer's corpus; None where it reads none, or one too large.
        waits: Whether a trial waits at each rung to hear whether it goes on.
    """

    path: tuple[str, ...]
    trainer: bytes
    logs: Path
    tokens: StoredTokens | None
    waits: bool = False

    @classmethod
    def of(cls, trainer: Trainer, logs: Path, *, waits: bool = False) -> Work:
        """Work with a trainer; its corpus goes into the object store where that has room.

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
        return cls(tuple(sys.path), packed, logs, store_tokens(trainer), waits)

    def load(self) -> Trainer:
        """The trainer, in a worker."""
        sys.path.extend(p for p in self.path if p not in sys.path)
        trainer = cast("Trainer", cloudpickle.loads(self.trainer))
        if self.tokens is None:
            return trainer
        return cast("ReadingTokens", trainer).reading(self.tokens)


class TrialWorker(tune.Trainable):
    """Runs trials one after the other; each step brings what a trial has reported since."""

    def setup(self, config: dict[str, Any], **given: Work) -> None:
        """Load the trainer; ``work`` is all that is given."""
        self._work = given["work"]
        self._trainer = self._work.load()
        self._attempt: _Attempt | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial without a new process."""
        self.cleanup()
        self._trials = trials_of(new_config)
        return True

    def cleanup(self) -> None:
        """End a trial that waits at a rung: it does not go on."""
        if self._attempt is not None:
            self._attempt.end()
        self._attempt = None

    def step(self) -> dict[str, Any]:
        """Wait for the next rung, or for the end of the trials; without trials, for a moment."""
        if not self._trials:
            time.sleep(WAIT_SECONDS)
            return {ROWS: "[]", WAITS: True}
        if self._attempt is None:
            self._attempt = _Attempt(self._trainer, self._trials, self._work.logs, self._work.waits)
        return self._attempt.next_result()


class _Attempt:
    """Trials that run in a thread, so that their rungs can be sent as they are reached."""

    def __init__(
        self, trainer: Trainer, trials: Sequence[Trial], logs: Path, waits: bool = False
    ) -> None:
        self._said: SimpleQueue[list[Observation] | str] = SimpleQueue()
        # True goes on, False ends.
        self._heard: SimpleQueue[bool] = SimpleQueue()
        self._trainer = trainer if len(trials) == 1 else _Pack(trainer, trials)
        self._trials, self._logs = trials, logs
        # Trials of a pack are trained in one loop: none of them can end alone.
        self._waits, self._waiting = waits and len(trials) == 1, False
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Let a trial that waits at a rung end there."""
        if self._waiting:
            self._waiting = False
            self._heard.put(False)
            self._thread.join()

    def _run(self) -> None:
        def report(observations: Sequence[Observation]) -> None:
            require_finite(observations)
            self._said.put(list(observations))
            if self._waits and not self._heard.get():
                raise EndEarly

        try:
            reason = run_trainer(self._trainer, self._trials[0], report, self._logs)
        except BaseException as error:  # such as SystemExit: nobody would hear of the end
            reason = f"{type(error).__name__}: {error}"
        self._said.put(reason)

    def next_result(self) -> dict[str, Any]:
        """What was said since the last call, at least one thing."""
        rows: list[Any] = []
        if self._waiting:
            self._heard.put(True)
        said = self._said.get()
        self._waiting = self._waits and not isinstance(said, str)
        while not isinstance(said, str):
            rows += [o.model_dump(mode="json") for o in said]
            if self._said.empty():
                return {ROWS: json.dumps(rows)}
            said = self._said.get()
        ends = {trial.id: self._end(trial, said) for trial in self._trials}
        return {ROWS: json.dumps(rows), ENDS: json.dumps(ends), "done": True}

    def _end(self, trial: Trial, reason: str) -> tuple[str, dict[str, Any] | None]:
        """Why a trial failed, if it did, else what it cost."""
        if isinstance(self._trainer, _Pack):
            reason = reason or self._trainer.failed.get(trial.id, "")
            self._trainer.count(trial)
        return reason, None if reason else run_cost(trial, self._trainer)


class _Pack:
    """A proxy trainer for several trials at once (a ``Trainer`` of the first of them)."""

    def __init__(self, trainer: Trainer, trials: Sequence[Trial]) -> None:
        from mixopt.proxy import PackTrainer, ProxyTrainer, RunCounts

        assert isinstance(trainer, ProxyTrainer), "only proxies are packed"
        self._trainer = PackTrainer(trainer.corpus(), trainer.settings, trainer.on_cpu)
        self._trials = trials
        self.failed: dict[str, str] = {}
        self.last_run: RunCounts | None = None

    def run(self, trial: Trial, report: Report) -> None:
        """Train them all.

        Raises:
            TrialError: If none of them can be trained.
        """
        del trial
        failed = self._trainer.run(self._trials, report)
        self.failed = {name: error.message for name, error in failed.items()}

    def count(self, trial: Trial) -> None:
        """Turn to what one of them cost."""
        self.last_run = self._trainer.runs.get(trial.id)
