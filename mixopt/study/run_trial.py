"""Running one trial in this process, and keeping what it reports."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

from mixopt.space import Observation, Trainer, Trial
from mixopt.study.cost import run_cost, stopped_cost
from mixopt.study.heartbeat import repeated
from mixopt.study.storage import Lease
from mixopt.study.study_trials import StudyTrials
from mixopt.study.trainers import EndEarly, require_finite, run_trainer
from mixopt.study.view import StudyView

#: From one heartbeat to the moment at which the trial is free for other hosts.
LEASE_SECONDS = 600.0


def why_at(study: StudyView, trial: Trial, observations: Sequence[Observation]) -> str | None:
    """Why a trial may end at the last of the rungs just reached; None where it goes on."""
    own = [o for o in observations if o.trial == trial.id and o.split == trial.split]
    last = max((o.tokens for o in own), default=0)
    values = {o.metric: o.value for o in own if o.tokens == last}
    return study.why_end(trial.id, last, values) if own else None


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

    stopped_at: list[int] = []

    def report(observations: Sequence[Observation]) -> None:
        require_finite(observations)
        study.record(trial.id, observations, lease=held)
        if study.settings.early_stop and why_at(study, trial, observations) is not None:
            stopped_at.append(max(o.tokens for o in observations))
            raise EndEarly

    # No other process can take a trial in memory, and its one connection is not shared by threads.
    alone = study.store.in_memory
    beat = partial(study.store.heartbeat, held, LEASE_SECONDS)
    with nullcontext() if alone else repeated(beat, LEASE_SECONDS / 4):
        reason = run_trainer(trainer, trial, report)
    cost = stopped_cost(trial, trainer, *stopped_at) if stopped_at else run_cost(trial, trainer)
    study.conclude(trial.id, reason, cost, lease=held)
    return True
