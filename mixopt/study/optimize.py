"""Running trials and keeping what they report: one trial, or a whole study in one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mixopt.errors import MixoptError
from mixopt.space import Observation, Trainer, Trial
from mixopt.study.cost import COST, run_cost
from mixopt.study.search_end import require_progress
from mixopt.study.state import StudyState
from mixopt.study.storage.storage import Storage, TrialRecord
from mixopt.study.trainers import CallableTrainer, require_finite, run_trainer

if TYPE_CHECKING:
    from mixopt.propose import Recommendation

Progress = Callable[[TrialRecord, float | None], None]


class Running(Protocol):
    """What running trials needs of a study; ``Study`` is one."""

    @property
    def id(self) -> int:
        """Its number in the storage."""

    @property
    def store(self) -> Storage:
        """Where it is kept."""

    def state(self) -> StudyState:
        """Everything the study knows."""

    def ask(self, n: int | None = None) -> list[Trial]:
        """Trials to run next."""

    def record(
        self, trial: str, values: Sequence[Observation], *, owner: str | None = None
    ) -> None:
        """Store rungs of a trial that goes on."""

    def finish(self, trial: str, *, owner: str | None = None) -> None:
        """End a trial whose rungs are all recorded."""

    def fail(self, trial: str, reason: str, *, owner: str | None = None) -> None:
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


def run_trial(study: Running, trainer: Trainer, trial: Trial, owner: str | None = None) -> bool:
    """Run one trial and store all of it; a trial that is over already is left alone.

    A failure of the trainer is stored as the trial's reason and does not raise.

    Args:
        study: Where results go, rung by rung.
        trainer: Runs it.
        trial: What is run.
        owner: Token of the run; results are refused once another run has taken over.

    Returns:
        Whether it was run (else it was over already).

    Raises:
        StudyError: If another run has taken over the study.
    """
    if not study.store.start(study.id, trial.id, owner):
        return False

    def report(observations: Sequence[Observation]) -> None:
        require_finite(observations)
        study.record(trial.id, observations, owner=owner)

    reason = run_trainer(trainer, trial, report)
    try:
        if not reason:
            study.finish(trial.id, owner=owner)
    except MixoptError as error:
        reason = error.message
    if reason:
        study.fail(trial.id, reason, owner=owner)
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
    token = study.store.claim(study.id)
    try:
        require_progress(study.state())
        while study.close_search() is None:
            for trial in study.ask():
                _run_one(study, runner, trial, token, progress)
                require_progress(study.state())
        recommendation = study.recommend()
        if confirm:
            for trial in study.add_trials(study.confirmation_trials(recommendation)):
                _run_one(study, runner, trial, token, progress)
            recommendation = study.with_confirmations(recommendation)
    finally:
        study.store.release(study.id, token)
    return recommendation


def _run_one(
    study: Running, trainer: Trainer, trial: Trial, token: str, progress: Progress | None
) -> None:
    run_trial(study, trainer, trial, token)
    if progress is not None:
        state = study.state()
        record = state.record_of(trial.id)
        progress(record, state.value_of(record))
