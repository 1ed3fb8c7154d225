"""Running one trial in this process, and keeping what it reports."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

from mixopt.space import Observation, Trainer, Trial
from mixopt.study.cost import run_cost
from mixopt.study.heartbeat import repeated
from mixopt.study.storage import Lease
from mixopt.study.study_trials import StudyTrials
from mixopt.study.trainers import require_finite, run_trainer

#: From one heartbeat to the moment at which the trial is free for other hosts.
LEASE_SECONDS = 600.0


def run_trial(
    study: StudyTrials, trainer: Trainer, trial: Trial, lease: Lease | None = None
) -> bool:
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

    # No other process can take a trial in memory, and its one connection is not shared by threads.
    alone = study.store.in_memory
    beat = partial(study.store.heartbeat, held, LEASE_SECONDS)
    with nullcontext() if alone else repeated(beat, LEASE_SECONDS / 4):
        reason = run_trainer(trainer, trial, report)
    study.conclude(trial.id, reason, run_cost(trial, trainer), lease=held)
    return True
