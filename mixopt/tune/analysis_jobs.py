"""What is asked about a recommended schedule: attribution, controls, rates, trade-off, phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mixopt.analysis.attribution import Attribution, attribution, attribution_schedules
from mixopt.analysis.controls import Controls, control_schedules, controls
from mixopt.analysis.rates import Rates, rate_schedules, rates
from mixopt.errors import StudyError
from mixopt.space import Schedule
from mixopt.study import Study, derived_seed
from mixopt.study.comparisons import SeedValues, comparison_values, plan_runs, require_pairs
from mixopt.tune.job import Job
from mixopt.tune.progress import Progress
from mixopt.tune.runner import run_trials
from mixopt.tune.study_file import ProxyChoice

if TYPE_CHECKING:
    from mixopt.analysis.dynamic_schedules import DynamicSchedules
    from mixopt.analysis.tradeoff import TradeOff
    from mixopt.propose import Recommendation


def run_comparison(
    job: Job, study: Study, schedules: Mapping[str, Schedule], seeds: int, progress: Progress | None
) -> SeedValues:
    """Train schedules with common seeds on Ray; runs that the study has are not repeated.

    Args:
        job: Gives the trainer and its resources.
        study: Keeps the runs.
        schedules: Per label.
        seeds: Runs of each.
        progress: Shows the runs.

    Raises:
        StudyError: If fewer than two seeds are asked for, and as ``run_trials``.
    """
    require_pairs(seeds)
    runs = plan_runs(study.state(), schedules, seeds=seeds)
    run_trials(
        study,
        job.trainer_of(study),
        study.add_trials(runs, retry_failed=True),
        out=job.out,
        resources_per_trial=job.file.resources_per_trial,
        address=job.file.address,
        progress=progress,
    )
    return comparison_values(study.state(), schedules)


def attribute_job(
    job: Job,
    domain: str,
    *,
    seeds: int = 3,
    fraction: float | None = None,
    progress: Progress | None = None,
) -> Attribution:
    """What a domain does in the recommended schedule: its last phase with and without it.

    Args:
        job: A study that has been run.
        domain: To be left out.
        seeds: Runs of each side.
        fraction: Look at the best schedule with this upsample fraction; None for the recommended.
        progress: Shows the runs.

    Raises:
        StudyError: If the schedule does not use the domain, or runs failed.
    """
    study = job.existing_study(write=True)
    if domain not in study.space.names:
        raise StudyError(
            f"the domain to attribute must be one of the space; got {domain!r}",
            f"it has {', '.join(study.space.names)}",
        )
    schedules = attribution_schedules(schedule_at(study.recommend(), fraction), domain)
    values = run_comparison(job, study, schedules, seeds, progress)
    return attribution(schedules, domain, values)


def controls_job(
    job: Job, *, seeds: int = 3, fraction: float | None = None, progress: Progress | None = None
) -> Controls:
    """How much of the recommended schedule's gain over its base is order, how much exposure.

    Arguments and errors are those of ``attribute_job``.
    """
    study = job.existing_study(write=True)
    schedules = control_schedules(schedule_at(study.recommend(), fraction))
    values = run_comparison(job, study, schedules, seeds, progress)
    return controls(schedules, values)


def rates_job(
    job: Job,
    factors: Sequence[float],
    warmups: Sequence[float],
    *,
    seeds: int = 3,
    fraction: float | None = None,
    progress: Progress | None = None,
) -> Rates:
    """Peak and warm-up of the recommended schedule's last phase, each level off the shared trunk.

    Args:
        job: A study that has been run.
        factors: Peaks over the run's.
        warmups: Shares of the last phase spent rising.
        seeds: Runs of each level.
        fraction: Look at the best schedule with this upsample fraction; None for the recommended.
        progress: Shows the runs.

    Raises:
        StudyError: If the schedule has one phase, no peak is known, or runs failed.
    """
    study = job.existing_study(write=True)
    schedule = schedule_at(study.recommend(), fraction)
    made = rate_schedules(schedule, factors, warmups, _peak(job, schedule))
    values = run_comparison(job, study, made, seeds, progress)
    return rates(made, values, study.objective.sign)


def _peak(job: Job, schedule: Schedule) -> float:
    known = schedule.learning_rate.peak if schedule.learning_rate else None
    if known is None and isinstance(job.file.trainer, ProxyChoice):
        known = job.file.trainer.settings.learning_rate
    if known is None:
        raise StudyError(
            "the peak learning rate must be known to be searched; the space names none",
            "add `learning_rate: {peak: ...}` to the space",
        )
    return known


def trade_off_job(
    job: Job,
    target: Mapping[str, float],
    general: Mapping[str, float],
    *,
    slack: float,
    confidence: float = 0.9,
) -> TradeOff:
    """General against target ability over the upsample fraction; nothing is trained.

    Args:
        job: A study that has been run.
        target: Weights of the metrics to gain on, summing to 1.
        general: Weights of the metrics to keep, summing to 1.
        slack: Allowed rise of the general loss over the baseline's (nats/token).
        confidence: Probability with which it must stay within.

    Raises:
        StudyError: If too few trials are finished, or a metric was not measured.
    """
    from mixopt.analysis.tradeoff import trade_off

    study = job.existing_study()
    for weights in (target, general):
        study.objective.reweighed(weights).require_losses()
    evidence, surrogate = study.learned(extra=True)
    return trade_off(
        study.space,
        surrogate,
        evidence,
        target=target,
        general=general,
        slack=slack,
        confidence=confidence,
        seed=derived_seed(study.seed, "trade-off"),
    )


def phases_job(job: Job, *, most: int = 6, smoothness: float = 0.0) -> DynamicSchedules:
    """Schedules of 1, 2, 3, ... phases under the law fitted to a study; nothing is trained.

    A gain counts when it is at least the noise of one observation of the objective.

    Args:
        job: A study of two phases that has been run.
        most: Number of phases to stop at.
        smoothness: Price per squared change of the weights between neighbours (nats/token).

    Raises:
        StudyError: If the study has one phase, or too few finished trials.
    """
    from mixopt.analysis.dynamic_schedules import dynamic_schedules
    from mixopt.analysis.phase_laws import fitted_losses
    from mixopt.propose.problem import Problem

    study = job.existing_study()
    study.objective.require_losses()
    evidence, surrogate = study.learned(extra=True)
    seed = derived_seed(study.seed, "phases")
    losses = fitted_losses(
        study.space, study.objective, evidence, trained=study.fidelity.tokens, seed=seed
    )
    return dynamic_schedules(
        study.space,
        losses,
        most=most,
        smoothness=smoothness,
        worth=Problem.of(study.space, study.objective, surrogate, evidence).noise,
        seed=seed,
    )


def schedule_at(recommendation: Recommendation, fraction: float | None) -> Schedule:
    """The recommended schedule, or the best with a given upsample fraction.

    Raises:
        StudyError: If the space does not allow that fraction.
    """
    if fraction is None:
        return recommendation.schedule
    for point in recommendation.trade_off:
        if abs(point.upsample_fraction - fraction) < 1e-6:
            return point.schedule
    levels = ", ".join(f"{p.upsample_fraction:g}" for p in recommendation.trade_off)
    raise StudyError(
        f"the fraction must be one that the space allows; got {fraction:g}", f"it allows {levels}"
    )
