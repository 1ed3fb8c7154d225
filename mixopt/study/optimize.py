"""Running trials and keeping what they report: one trial, or a whole study in one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mixopt.errors import MixoptError, StudyError
from mixopt.space import Observation, Trainer, Trial
from mixopt.study.cost import record_cost
from mixopt.study.results.final_values import last_values
from mixopt.study.storage import Lease, State, TrialRecord, this_worker
from mixopt.study.trainers import CallableTrainer, require_finite, run_trainer

if TYPE_CHECKING:
    from mixopt.propose import Recommendation
    from mixopt.study.study import Study

Progress = Callable[[TrialRecord, float | None], None]

# Of a trial that nobody prolongs; a process of this host that has ended holds none.
LEASE_SECONDS = 24 * 3600.0


def run_trial(study: Study, trainer: Trainer, trial: Trial, lease: Lease | None = None) -> bool:
    """Run one trial and store all of it; a trial that is over already is left alone.

    A failure of the trainer is stored as the trial's reason and does not raise.

    Args:
        study: Where results go, rung by rung.
        trainer: Runs it.
        trial: What is run.
        lease: Of the trial; None to take one here.

    Returns:
        Whether it was run (else it is over, or another process runs it).

    Raises:
        StudyError: If the lease was lost.
    """
    if lease is None:
        taken = lease_trials(study, [trial])
        if not taken:
            return False
        lease = taken[trial.id]

    def report(observations: Sequence[Observation]) -> None:
        require_finite(observations)
        study.record(trial.id, observations, lease=lease)

    reason = run_trainer(trainer, trial, report)
    if not reason:
        try:
            study.finish(trial.id, lease=lease)
            record_cost(study, trial, trainer)
            return True
        except MixoptError as error:
            reason = error.message
    study.fail(trial.id, reason, lease=lease)
    return True


def lease_trials(study: Study, trials: Sequence[Trial]) -> dict[str, Lease]:
    """Leases of those of the trials that nobody runs, by id."""
    found = study.store.lease(
        study.id, worker=this_worker(), seconds=LEASE_SECONDS, trials=[t.id for t in trials]
    )
    return {record.trial.id: lease for record, lease in found}


def require_progress(study: Study) -> None:
    """Stop a study whose every trial fails: the next ones would too.

    Raises:
        StudyError: If the last complete round has no finished trial.
    """
    records = [r for r in study.records() if r.search]
    last = max((r.trial.round for r in records), default=None)
    failed = [r for r in records if r.trial.round == last]
    if failed and all(r.state == State.failed for r in failed):
        raise StudyError(
            f"every one of the {len(failed)} trials of round {last} failed; the first, "
            f"{failed[0].trial.id}: {failed[0].reason}",
            "mend the trainer, then let them run again: mixopt run --retry-failed, or "
            "study.requeue()",
        )


def trial_objective(study: Study, trial: Trial) -> float | None:
    """The objective of a finished trial at its last rung; None while it has none."""
    values = last_values(study.store.observations(study.id, trial.id), trial.split)
    if any(name not in values for name in study.objective.weights):
        return None
    return study.objective.value(values)


def optimize(
    study: Study,
    trainer: Trainer | Callable[..., Any],
    *,
    confirm: bool = False,
    progress: Progress | None = None,
) -> Recommendation:
    """See ``Study.optimize``."""
    if not hasattr(trainer, "run"):
        trainer = CallableTrainer(trainer)
    if not search_open(study):
        require_progress(study)
    while not study.should_stop():
        _run_all(study, trainer, study.ask(), progress)
        require_progress(study)
    recommendation = study.recommend()
    if not confirm:
        return recommendation
    _run_all(study, trainer, study.confirmation_trials(recommendation), progress)
    return study.with_confirmations(recommendation)


def search_open(study: Study) -> bool:
    """Whether trials of the search still have to be run."""
    return any(r.open and r.search for r in study.records())


def _run_all(
    study: Study,
    trainer: Trainer,
    trials: Sequence[Trial],
    progress: Progress | None,
) -> None:
    for trial in trials:
        run_trial(study, trainer, trial)
        record = study.store.trial(study.id, trial.id)
        if progress is not None and record is not None:
            progress(record, trial_objective(study, trial))
