"""Continual pretraining read from runs: the smallest share of old data that keeps the old ability.

A schedule's first phase makes the base checkpoint, its last phase mixes old and new domains. Each
run's old loss at the end is compared with its own old loss at the end of the base phase, so that
what a seed shifts in both cancels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mixopt.analysis.csv_table import CsvTable
from mixopt.errors import StudyError
from mixopt.laws.share_law import critical_share, share_noise
from mixopt.space import Frozen, LearningRate, Mixture, Observation, Schedule
from mixopt.steps import step
from mixopt.study.state import by_trial
from mixopt.study.storage import State, TrialRecord

if TYPE_CHECKING:
    from mixopt.study.study import Study

Array = NDArray[np.float64]

#: A rung counts as the end of the base phase within this share of the run's tokens.
NEAR = 0.01

#: A rate up to this many times that of the end counts as decayed.
DECAYED = 1.5


@dataclass(frozen=True)
class ContinualRuns:
    """Runs that continue on a mix of old and new data.

    Args:
        ids: Of the trials.
        shares: ``n`` old-data shares of the last phase.
        rises: ``n`` old losses at the end minus those at the end of the base phase (nats/token).
    """

    ids: tuple[str, ...]
    shares: Array
    rises: Array


class Critical(Frozen):
    """The smallest old-data share that keeps the old loss at or under the base's.

    Attributes:
        critical_share: It.
        low: Lower end of the interval.
        high: Upper end; 1 where even old data alone may not do.
        level: Probability of the interval.
        noise_sd: Of one run's rise (nats/token).
        shares: Of the runs.
        rises: Of the runs: old loss minus the base's (nats/token).
        fitted: The law at their shares.
        band: Half of the interval of the rise at the critical share, where 0 is predicted.
    """

    critical_share: float
    low: float
    high: float
    level: float
    noise_sd: float
    shares: tuple[float, ...]
    rises: tuple[float, ...]
    fitted: tuple[float, ...]
    band: float


def with_old_share(schedule: Schedule, share: float, old: Mixture, new: Mixture) -> Schedule:
    """A schedule whose last phase holds a share of old data, the rest new.

    Raises:
        StudyError: If the share is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise StudyError(f"an old-data share must lie between 0 and 1; got {share:g}", "give .25")
    amounts = {n: share * w for n, w in old.items()}
    for name, weight in new.items():
        amounts[name] = amounts.get(name, 0.0) + (1 - share) * weight
    return schedule.with_last(mixture=Mixture.normalized(amounts))


def continual_runs(
    study: Study,
    old: Mapping[str, float],
    trials: Sequence[str] | None = None,
    tokens: int | None = None,
    undecayed: bool = False,
) -> ContinualRuns:
    """Old-data shares and rises of a study's finished runs of two phases or more.

    Old domains are those that the first phase uses.

    Args:
        study: Holds the runs, with a rung where the base phase ends.
        old: Weights of the metrics that stand for the old ability.
        trials: Ids to use; None for every finished run.
        tokens: Horizon: training tokens, the base's included, after which the old loss is read;
            None for the end.
        undecayed: Read an earlier rung though the learning rate had not come down there as it does
            at the end: an old loss that has yet to fall asks for more old data than a run of that
            length would.

    Raises:
        StudyError: If a run has no rung at the end of its base phase or at the horizon, lacks
            a metric, or had not decayed at the horizon.
    """
    groups = by_trial(study.store.observations(study.id))
    used = [
        r
        for r in study.records()
        if r.state == State.finished
        and len(r.trial.schedule.phases) > 1
        and (trials is None or r.trial.id in trials)
    ]
    if tokens is not None and not undecayed:
        for record in used:
            _require_decayed(record, tokens, _default_rule(study))
    shares, rises = [], []
    for record in used:
        schedule = record.trial.schedule
        known = [n for n, w in schedule.base.items() if w > 0]
        shares.append(sum(schedule.ending.get(n, 0.0) for n in known))
        rises.append(_rise(record, groups[record.trial.id], old, tokens))
    ids = tuple(r.trial.id for r in used)
    return ContinualRuns(ids, np.array(shares), np.array(rises))


def _default_rule(study: Study) -> LearningRate | None:
    """The rule of the study's trainer, for schedules that name none; None where it is not known."""
    trainer = study.config.context.get("trainer")
    if not isinstance(trainer, dict) or trainer.get("kind") != "proxy":
        return None
    rule = trainer.get("settings", {}).get("schedule")
    return None if rule is None else LearningRate.model_validate(rule)


def _require_decayed(record: TrialRecord, tokens: int, default: LearningRate | None) -> None:
    trial = record.trial
    if tokens >= trial.fidelity.tokens:
        return
    schedule = trial.schedule
    last, rule = schedule.phases[-1].learning_rate, schedule.learning_rate or default
    hint = (
        f"train runs of {tokens:,} tokens, or read it all the same with --undecayed "
        "(undecayed=True)"
    )
    where = f"after {tokens:,} of the {trial.fidelity.tokens:,} tokens of trial {trial.id}"
    if last is None and rule is None:
        raise StudyError(
            f"the old loss {where} can be read only where the learning rate is known to have come "
            "down as at the end; neither the schedule nor the study names a rule",
            hint,
        )
    known = schedule.model_copy(update={"learning_rate": rule})
    at, end = (known.rate_factor(p)[0] for p in (tokens / trial.fidelity.tokens, 1.0))
    if at > DECAYED * max(end, 1e-9):
        raise StudyError(
            f"{where} the learning rate is still at {at:.0%} of its peak, where it ends at "
            f"{end:.0%}: the old loss has yet to fall, and is not that of a run of this length",
            hint,
        )


def old_metrics(study: Study) -> dict[str, float]:
    """The first phase's weights, where a metric is named like each of its domains.

    Raises:
        StudyError: If no run has two phases, or the runs start from different mixtures.
    """
    bases = {r.trial.schedule.base for r in study.records() if len(r.trial.schedule.phases) > 1}
    if len(bases) != 1:
        raise StudyError(
            f"the runs must continue from one base mixture; the study has {len(bases)}",
            "fix the mixture of the first phase: `fixed: {...}`",
        )
    return {n: w for n, w in bases.pop().items() if w > 0}


def _rise(
    record: TrialRecord,
    rows: Sequence[Observation],
    old: Mapping[str, float],
    tokens: int | None,
) -> float:
    trial = record.trial
    rows = [r for r in rows if r.split == trial.split]
    share = 1 - trial.schedule.upsample_fraction
    start = _rung(rows, record, round(share * trial.fidelity.tokens), "where the base phase ends")
    end = trial.fidelity.tokens if tokens is None else tokens
    end = _rung(rows, record, end, "at the horizon")
    losses = []
    for at in (end, start):
        values = {r.metric: r.value for r in rows if r.tokens == at}
        missing = [n for n in old if n not in values]
        if missing:
            raise StudyError(
                f"trial {trial.id} did not measure {missing} at {at:,} tokens",
                f"it measured {sorted(values)}",
            )
        losses.append(sum(w * values[n] for n, w in old.items()) / sum(old.values()))
    return losses[0] - losses[1]


def _rung(rows: Sequence[Observation], record: TrialRecord, wanted: int, where: str) -> int:
    """The rung at so many tokens."""
    trial = record.trial
    rungs = sorted({r.tokens for r in rows})
    near = min(rungs, key=lambda t: abs(t - wanted))
    if abs(near - wanted) > NEAR * trial.fidelity.tokens:
        raise StudyError(
            f"the old loss must be measured {where}, at {wanted:,} tokens; trial {trial.id} was "
            f"measured at {', '.join(f'{t:,}' for t in rungs)}",
            f"add the rung {wanted / trial.fidelity.tokens:.3g} to the trainer's settings",
        )
    return near


@step("fitting the share of old data")
def critical_of(
    shares: Array,
    rises: Array,
    *,
    noise: float | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Critical:
    """The critical share from rises of the old loss, each over its own base.

    Args:
        shares: ``n`` old-data shares, three different ones at least.
        rises: ``n`` old losses minus those of the base (nats/token).
        noise: Standard deviation of one run's rise; None to take it from these runs.
        level: Probability of the interval.
        seed: Of the bootstrap.

    Raises:
        StudyError: If the level is no probability.
        SurrogateError: If there are too few runs for the law and its noise, or no share keeps the
            old loss.
    """
    if not 0 < level < 1:
        raise StudyError(
            f"the level of an interval must lie between 0 and 1; got {level:g}", "write 0.95"
        )
    noise = share_noise([shares], [rises]) if noise is None else noise
    found = critical_share(shares, rises, 0.0, noise=noise, level=level, seed=seed)
    return Critical(
        critical_share=found.share,
        low=found.low,
        high=found.high,
        level=level,
        noise_sd=noise,
        shares=tuple(shares.tolist()),
        rises=tuple(rises.tolist()),
        fitted=tuple(found.law.predict(shares).tolist()),
        band=found.band,
    )


def read_runs(path: str | Path, base_loss: float | None = None) -> tuple[Array, Array]:
    """Shares and rises from a CSV with the columns ``share``, ``loss`` and, if it varies, ``base``.

    Args:
        path: The file, one run per row.
        base_loss: Old loss of the base checkpoint, where the file has no column ``base``.

    Raises:
        StudyError: If a column or the base loss is missing, or a value is not a number.
    """
    table = CsvTable.read(path)
    columns = list(table.header)
    if not {"share", "loss"} <= set(columns):
        raise StudyError(
            f"{path} must have the columns share and loss; it has {columns}",
            "one row per run: the old-data share and the old loss at its end",
        )
    if base_loss is None and "base" not in columns:
        raise StudyError(
            f"{path} has no column base, and no base loss was given",
            "give --base-loss, the old loss of the checkpoint that training continued from",
        )
    share, loss = table.numbers(("share", "loss")).T
    base = table.numbers(("base",))[:, 0] if "base" in columns else base_loss
    if share.min() < 0 or share.max() > 1:
        raise StudyError(
            f"{path}: an old-data share must lie between 0 and 1; got "
            f"{share[np.argmax(np.abs(share - 0.5))]:g}",
            "write 0.25 for 25%",
        )
    return share, np.asarray(loss - base)
