"""What a study would cost at most, counted and timed before anything is run."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mixopt.errors import StudyError
from mixopt.proxy import architecture, tokens_per_second, tokens_with_sharing
from mixopt.space import Trial
from mixopt.study import StudySettings
from mixopt.study.device_time import DeviceTime
from mixopt.tune.driver import trunks_first
from mixopt.tune.job import Job, natural_of
from mixopt.tune.study_file import ProxyChoice, StudyFile


@dataclass(frozen=True)
class CostEstimate:
    """What a study would cost at most.

    Attributes:
        trials: Search trials.
        confirmations: Confirmation runs.
        tokens: Of all of them.
        flops: Of all of them.
        first_round: Tokens of the first round.
        first_round_shared: Those it really trains, as endings branch from shared trunks.
        first_round_flops: FLOPs of the first round without sharing.
        first_round_flops_shared: Those it really takes.
        slots: Trials at a time on this machine.
        seconds: Estimated wall time without sharing; None for a trainer of unknown speed.
        device_hours: What all runs take of the devices; None likewise.
        money: Their price; None likewise, and where no price of a device-hour is given.
        advice: What is known against schedules of the space, or to know about them.
    """

    trials: int
    confirmations: int
    tokens: int
    flops: float
    first_round: int
    first_round_shared: int
    first_round_flops: float
    first_round_flops_shared: float
    slots: int
    seconds: float | None
    device_hours: float | None
    money: float | None
    advice: tuple[str, ...] = ()


def estimate_cost(job: Job) -> CostEstimate:
    """Count the trials, tokens, FLOPs and device-hours of a study.

    Time comes from the finished trials of the stored study, else from a few steps of the proxy.
    Nothing is written. Tokens come from the corpus where it is built, else from the sizes of its
    files, and from the metadata of token files.
    """
    file, counted = job.file, job.tokens()
    study = job.draft(counted or job.expected_tokens())
    first = study.ask()
    flops_of, time = study.settings.flops, _device_time(job, study.settings)
    top, trials = file.highest, file.budget.most_trials(time.cost(file.cheapest))
    checks = 4 * file.confirm_seeds
    # Where trials differ, the totals cap what as many of the largest would cost.
    most = min(trials * top.tokens, file.budget.tokens or sys.maxsize) + checks * top.tokens
    highest = flops_of(top)
    flops = min(trials * highest, file.budget.flops or math.inf) + checks * highest
    slots = max(int((os.cpu_count() or 1) // max(file.resources_per_trial.get("cpu", 1), 1)), 1)
    each = time.seconds(top)
    seconds = None if each is None else each * flops / highest
    hours, price = time.hours(seconds or 0.0) or None, file.budget.price_per_device_hour
    trained = _trained(file, first)
    return CostEstimate(
        trials=trials,
        confirmations=checks,
        tokens=most,
        flops=flops,
        first_round=sum(t.fidelity.tokens for t in first),
        first_round_shared=sum(n for n, _ in trained),
        first_round_flops=sum(flops_of(t.fidelity) for t in first),
        first_round_flops_shared=sum(
            flops_of(t.fidelity) / t.fidelity.tokens * n for n, t in trained
        ),
        slots=slots,
        seconds=None if seconds is None else seconds / slots,
        device_hours=hours,
        money=None if hours is None or price is None else hours * price,
        advice=(*_assumed(file, counted), *job.advice(study.space)),
    )


def _assumed(file: StudyFile, counted: Mapping[str, int]) -> tuple[str, ...]:
    natural = "natural" in (*file.objective.weights, file.space.baseline)
    if counted or not natural or natural_of(file.space) is not None:
        return ()
    return ("the corpus is not built yet: `natural` is told from its files",)


def _trained(file: StudyFile, trials: Sequence[Trial]) -> list[tuple[int, Trial]]:
    """Tokens that each trial really trains; only the proxy keeps trunks."""
    if not isinstance(file.trainer, ProxyChoice):
        return [(t.fidelity.tokens, t) for t in trials]
    ordered = list(trunks_first(trials))
    return list(zip(tokens_with_sharing(ordered, file.trainer.settings), ordered, strict=True))


def _device_time(job: Job, settings: StudySettings) -> DeviceTime:
    """From the trials that the study has finished; before any, from a few steps of the proxy."""
    try:
        known = DeviceTime.of(job.existing_study().records(), settings)
    except StudyError:
        known = DeviceTime(settings, {})
    file, vocabulary = job.file, job.vocabulary()
    if known.per_flop or not isinstance(file.trainer, ProxyChoice) or vocabulary is None:
        return known
    top = file.highest
    speed = tokens_per_second(architecture(top.parameters), file.trainer.settings, vocabulary)
    return DeviceTime(settings, {top.parameters: top.tokens / speed / settings.flops(top)})
