"""Running trials and keeping what they report: one trial, or a whole study in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mixopt.errors import MixoptError
from mixopt.space import Observation, Trainer, Trial
from mixopt.study.comparisons import open_runs
from mixopt.study.config import StudySettings
from mixopt.study.cost import COST, run_cost
from mixopt.study.heartbeat import beating
from mixopt.study.search_end import require_progress
from mixopt.study.state import StudyState
from mixopt.study.storage import Lease, Storage, TrialRecord
from mixopt.study.trainers import CallableTrainer, require_finite, run_trainer

if TYPE_CHECKING:
    from mixopt.propose import Recommendation

Progress = Callable[[TrialRecord, float | None], None]

#: Of a trial that nobody prolongs; a process of this host that has ended holds none.
LEASE_SECONDS = 24 * 3600.0
#: Between looks at trials that other processes run.
POLL_SECONDS = 0.5


class Running(Protocol):
    """What running trials needs of a study; ``Study`` is one."""

    @property
    def store(self) -> Storage:
        """Where it is kept."""

    @property
    def settings(self) -> StudySettings:
        """What may change between runs."""

    def state(self) -> StudyState:
        """Everything the study knows."""

    def ask(self, n: int | None = None, *, batch: int | None = None) -> list[Trial]:
        """Trials to run next."""

    def lease(self, trials: Sequence[Trial]) -> dict[str, Lease]:
        """The leases of those of the trials that it holds or can take."""

    def record(
        self, trial: str, values: Sequence[Observation], *, lease: Lease | None = None
    ) -> None:
        """Store rungs of a trial that goes on."""

    def finish(self, trial: str, *, lease: Lease | None = None) -> None:
        """End a trial whose rungs are all recorded."""

    def fail(self, trial: str, reason: str, *, lease: Lease | None = None) -> None:
        """Store that a trial failed, and why."""

    def add_event(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Append to the study's log."""

    def add_trials(self, trials: Sequence[Trial], *, retry_failed: bool = False) -> list[Trial]:
        """Store runs that compare schedules."""

    def close_search(self) -> str | None:
        """Keep why the search is over."""

    def recommend(self) -> Recommendation:
        """What to train on."""

    def confirmation_trials(self, recommendation: Recommendation) -> list[Trial]:
        """The runs that check a recommendation."""

    def with_confirmations(
        self, recommendation: Recommendation, *, state: StudyState | None = None
    ) -> Recommendation:
        """The recommendation with its finished confirmation runs."""


def run_trial(study: Running, trainer: Trainer, trial: Trial, lease: Lease | None = None) -> bool:
    """Run one trial and store all of it; a trial that is over already is left alone.

    A failure of the trainer is stored as the trial's reason and does not raise. The lease is
    prolonged for as long as the trainer runs.

    Args:
        study: Where results go, rung by rung.
        trainer: Runs it.
        trial: What is run.
        lease: Of the trial; None for the one that the study holds or can take.

    Returns:
        Whether it was run (else it is over, or another process runs it).

    Raises:
        StudyError: If the lease was lost.
    """
    held = lease or study.lease([trial]).get(trial.id)
    if held is None:
        return False

    def report(observations: Sequence[Observation]) -> None:
        require_finite(observations)
        study.record(trial.id, observations, lease=held)

    with beating(study.store, held):
        reason = run_trainer(trainer, trial, report)
    try:
        if not reason:
            study.finish(trial.id, lease=held)
    except MixoptError as error:
        reason = error.message
    if reason:
        study.fail(trial.id, reason, lease=held)
        return True
    cost = run_cost(trial, trainer)
    if cost is not None:
        study.add_event(COST, cost)
    return True


def optimize(
    study: Running,
    trainer: Trainer | Callable[..., Any],
    *,
    confirm: bool = False,
    progress: Progress | None = None,
) -> Recommendation:
    """See ``Study.optimize``."""
    runner: Trainer = trainer if hasattr(trainer, "run") else CallableTrainer(trainer)
    require_progress(study.state())
    while study.close_search() is None:
        trials = study.ask(1, batch=study.settings.batch)
        for trial in trials:
            _run_one(study, runner, trial, progress)
            require_progress(study.state())
        if not trials:
            time.sleep(POLL_SECONDS)
    recommendation = study.recommend()
    if confirm:
        waiting = study.add_trials(study.confirmation_trials(recommendation))
        while waiting:
            # One trial at a time, so that other processes can take the rest.
            if not any(_run_one(study, runner, t, progress) for t in waiting):
                time.sleep(POLL_SECONDS)
            waiting = open_runs(study.state(), waiting)
        recommendation = study.with_confirmations(recommendation)
    return recommendation


def _run_one(study: Running, trainer: Trainer, trial: Trial, progress: Progress | None) -> bool:
    ran = run_trial(study, trainer, trial)
    if ran and progress is not None:
        state = study.state()
        record = state.record_of(trial.id)
        progress(record, state.value_of(record))
    return ran
