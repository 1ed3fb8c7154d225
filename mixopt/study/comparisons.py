"""Schedules trained side by side with common seeds, and the differences between them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student

from mixopt.errors import StudyError
from mixopt.space import Fidelity, Frozen, Kind, Schedule, Split, Trial
from mixopt.study.config import derived_seed
from mixopt.study.results.final_values import by_trial, last_values
from mixopt.study.storage import State

if TYPE_CHECKING:
    from mixopt.study.study import Study

OBJECTIVE = "objective"


class Effect(Frozen):
    """A paired difference over common seeds.

    Attributes:
        mean: Of the differences (nats/token).
        se: Standard error of the mean.
        low: Lower end of the interval (95 % unless said), by Student's t with one seed less of
            freedom.
        high: Its upper end.
        seeds: Pairs behind it.
    """

    mean: float
    se: float
    low: float
    high: float
    seeds: int

    @classmethod
    def of(cls, differences: Sequence[float], level: float = 0.95) -> Effect:
        """Summarise differences.

        Raises:
            StudyError: If there are fewer than two, which say nothing of their spread.
        """
        n = len(differences)
        if n < 2:
            raise StudyError(
                f"an interval needs at least two seeds that finished on both sides; got {n}",
                "raise --seeds, or see why runs failed in the study's trials",
            )
        mean, se = float(np.mean(differences)), float(np.std(differences, ddof=1) / np.sqrt(n))
        wide = float(student.ppf((1 + level) / 2, n - 1)) * se
        return cls(mean=mean, se=se, low=mean - wide, high=mean + wide, seeds=n)

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Comparison:
    """Schedules under labels, each with the ids of its runs.

    Args:
        schedules: Per label.
        ids: Per label, one trial per seed, in the same order of seeds everywhere.
    """

    schedules: Mapping[str, Schedule]
    ids: Mapping[str, tuple[str, ...]]


def comparison_seeds(study: Study, seeds: int) -> list[int]:
    """The fresh seeds of confirmation runs, so that those are used again where they exist."""
    return [derived_seed(study.seed, "confirmation", str(k)) for k in range(seeds)]


def set_up_comparison(
    study: Study,
    schedules: Mapping[str, Schedule],
    *,
    seeds: int,
    split: Split = Split.confirmation,
) -> Comparison:
    """Store the runs a comparison needs; those that the study has already are not repeated.

    Args:
        study: Gives fidelity and seeds, and keeps the runs.
        schedules: Per label; they need not lie in the study's space.
        seeds: Runs of each.
        split: Held-out documents to measure on; by default those the search never saw.

    Raises:
        StudyError: If fewer than two seeds are asked for.
    """
    if seeds < 2:
        raise StudyError(
            f"a comparison needs at least two seeds to have an interval; got {seeds}",
            "three are the default",
        )
    known = {
        (r.trial.schedule, r.trial.fidelity, r.trial.seed, r.trial.split): r.trial.id
        for r in study.records()
        if r.state != State.failed
    }
    ids: dict[str, tuple[str, ...]] = {}
    new: dict[str, Trial] = {}
    for label, schedule in schedules.items():
        mine = []
        for k, seed in enumerate(comparison_seeds(study, seeds)):
            key = (schedule, study.fidelity, seed, split)
            if key not in known:
                trial = Trial(
                    id=f"x-{_digest(schedule, study.fidelity, split)}-s{k}",
                    kind=Kind.comparison,
                    schedule=schedule,
                    fidelity=study.fidelity,
                    seed=seed,
                    label=label,
                    split=split,
                )
                known[key] = trial.id
                new[trial.id] = trial
            mine.append(known[key])
        ids[label] = tuple(mine)
    stored = {r.trial.id for r in study.records()}
    study.requeue([i for i in new if i in stored])
    study.store.add_trials(study.id, [t for i, t in new.items() if i not in stored])
    return Comparison(dict(schedules), ids)


def _digest(schedule: Schedule, fidelity: Fidelity, split: Split) -> str:
    text = f"{schedule.model_dump_json()}{fidelity.model_dump_json()}{split.value}"
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def open_runs(study: Study, comparison: Comparison) -> list[Trial]:
    """The runs that are still to be done, a seed at a time, in the order of the labels."""
    open_ids = {r.trial.id: r.trial for r in study.records() if r.open}
    order = [i for group in zip(*comparison.ids.values(), strict=True) for i in group]
    return [open_ids[i] for i in dict.fromkeys(order) if i in open_ids]


def comparison_values(study: Study, comparison: Comparison) -> dict[str, list[dict[str, float]]]:
    """Per label and seed, every metric at the end and the objective; empty where a run failed."""
    groups = by_trial(study.store.observations(study.id))
    records = {r.trial.id: r for r in study.records()}

    def values(trial: str) -> dict[str, float]:
        record = records[trial]
        if record.state != State.finished:
            return {}
        found = last_values(groups[trial], record.trial.split)
        return {OBJECTIVE: study.objective.value(found), **found}

    return {label: [values(i) for i in ids] for label, ids in comparison.ids.items()}


def paired_effects(
    one: Sequence[Mapping[str, float]], other: Sequence[Mapping[str, float]], level: float = 0.95
) -> dict[str, Effect]:
    """``one - other`` per metric over the seeds that finished on both sides, objective first.

    Args:
        one: Metrics per seed; empty where a run failed.
        other: The same, in the same order of seeds.
        level: Probability of the intervals.

    Raises:
        StudyError: If fewer than two seeds did.
    """
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a and b]
    names = [n for n in (pairs[0][0] if pairs else {}) if all(n in a and n in b for a, b in pairs)]
    if not names:
        return {OBJECTIVE: Effect.of([])}
    return {n: Effect.of([a[n] - b[n] for a, b in pairs], level) for n in names}
