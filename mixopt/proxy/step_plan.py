"""A trial laid out in steps: phases, learning rates, rungs, and the names of its prefixes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import TrialError
from mixopt.proxy.settings import ProxySettings
from mixopt.space import LearningRate, Schedule, Trial


@dataclass(frozen=True)
class StepPlan:
    """Steps of one run. A step is one batch; the last may be short.

    Attributes:
        sequences: Sequences of the run.
        batch: Sequences per step.
        context: Tokens per sequence.
        phases: Per phase, the steps it takes and its weights.
        rates: Learning rate of each step before `matrix_rate` (``steps``).
        rungs: Steps after which validation is measured; the last step is one.
        branches: Steps after which a checkpoint is kept.
    """

    sequences: int
    batch: int
    context: int
    phases: tuple[tuple[int, dict[str, float]], ...]
    rates: NDArray[np.float64]
    rungs: frozenset[int]
    branches: frozenset[int]

    @property
    def steps(self) -> int:
        """Steps of the run."""
        return len(self.rates)

    @property
    def shares(self) -> list[tuple[float, dict[str, float]]]:
        """The phases in shares of the sequences, cut where steps are cut."""
        ends = np.cumsum([0, *(steps for steps, _ in self.phases)])
        marks = np.minimum(ends * self.batch, self.sequences)
        counts = np.diff(marks) / self.sequences
        return [(float(c), weights) for c, (_, weights) in zip(counts, self.phases, strict=True)]

    def sequences_after(self, step: int) -> int:
        """Sequences seen after a number of steps."""
        return min(step * self.batch, self.sequences)

    def tokens_after(self, step: int) -> int:
        """Training tokens seen after a number of steps."""
        return self.sequences_after(step) * self.context

    def prefix_keys(self, header: object) -> list[str]:
        """SHA-256 (hex) of all that the state after each step depends on (``steps + 1``).

        Two runs of the same header share the key of a step exactly when everything before it was
        the same: data, order, learning rates and measurements. What comes after has no part in it,
        so any checkpoint of any earlier run can be found by its key.
        """
        digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        starts = dict(zip(np.cumsum([0, *(n for n, _ in self.phases)]), self.phases, strict=False))
        keys = [digest.hexdigest()]
        for step in range(self.steps):
            if step in starts:
                weights = starts[step][1]
                named = sorted((n, w.hex()) for n, w in weights.items() if w > 0)
                digest.update(json.dumps(["phase", named]).encode())
            count = self.sequences_after(step + 1) - self.sequences_after(step)
            rung = step + 1 in self.rungs
            digest.update(f"|{float(self.rates[step]).hex()} {count} {rung}".encode())
            keys.append(digest.hexdigest())
        return keys


def plan_steps(trial: Trial, settings: ProxySettings) -> StepPlan:
    """Lay a trial out in steps.

    Tokens are rounded down to whole sequences. Phases get whole steps by largest remainder, so a
    phase's share is exact within one batch.

    Raises:
        TrialError: If the tokens are less than one sequence, or a phase would get no step.
    """
    sequences = trial.fidelity.tokens // settings.context
    if sequences < 1:
        raise TrialError(
            f"a trial must train on at least one sequence of {settings.context} tokens; "
            f"{trial.id} has {trial.fidelity.tokens}",
            "raise the tokens of the fidelity",
        )
    steps = -(-sequences // settings.batch)
    units = trial.schedule.phase_units(steps)
    for phase, count in zip(trial.schedule.phases, units, strict=True):
        if count == 0:
            raise TrialError(
                f"every phase must last at least one batch; {phase.name!r} of {trial.id} has "
                f"{phase.fraction:g} of {steps} batches",
                "raise the fraction or the tokens, or make the batch smaller",
            )
    phases = tuple(
        (count, dict(phase.mixture))
        for count, phase in zip(units, trial.schedule.phases, strict=True)
    )
    ends = np.cumsum(units)[:-1].tolist()
    return StepPlan(
        sequences=sequences,
        batch=settings.batch,
        context=settings.context,
        phases=phases,
        rates=learning_rates(trial.schedule, units, settings),
        rungs=_marks(settings.rungs, steps) | {steps},
        branches=(_marks(settings.branch_points, steps) | set(ends)) - {steps},
    )


def tokens_with_sharing(trials: Iterable[Trial], settings: ProxySettings) -> list[int]:
    """Tokens each trial trains when all run in this order over one checkpoint folder.

    Nothing is trained. The rest of a trial's tokens comes from an earlier one's trunk.

    Raises:
        TrialError: As `plan_steps`.
    """
    stored: set[str] = set()
    trained = []
    for trial in trials:
        plan = plan_steps(trial, settings)
        keys = plan.prefix_keys([trial.fidelity.parameters, trial.seed, trial.split.value])
        reused = max((step for step, key in enumerate(keys) if key in stored), default=0)
        trained.append(plan.tokens_after(plan.steps) - plan.tokens_after(reused))
        stored |= {keys[step] for step in plan.branches}
    return trained


def _marks(shares: Iterable[float], steps: int) -> frozenset[int]:
    return frozenset(max(1, round(share * steps)) for share in shares)


def learning_rates(
    schedule: Schedule, units: list[int], settings: ProxySettings
) -> NDArray[np.float64]:
    """The rate of each step; a rule is read at the middle of the step.

    A phase's own rule runs over its steps, otherwise the schedule's (or the settings') over all.
    """
    steps = sum(units)
    overall = schedule.learning_rate or settings.schedule
    rates = [
        _rate(phase.learning_rate, (i + 0.5) / count, settings.learning_rate)
        if phase.learning_rate is not None
        else _rate(overall, (start + i + 0.5) / steps, settings.learning_rate)
        for phase, count, start in zip(
            schedule.phases, units, np.cumsum([0, *units])[:-1], strict=True
        )
        for i in range(count)
    ]
    return np.array(rates)


def _rate(rule: LearningRate, progress: float, peak: float) -> float:
    return (rule.peak or peak) * rule.factor(float(progress))
