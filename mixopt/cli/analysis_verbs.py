"""Verbs about a schedule: attribute, controls, rates, tradeoff, phases, critical."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from mixopt.cli.app import (
    HERE,
    Amount,
    Into,
    Json,  # noqa: F401 (cyclopts reads the inherited options' types here)
    Names,
    StudyPath,
    Where,
    app,
    emit,
    say,
    writing,
)
from mixopt.errors import MixoptError

if TYPE_CHECKING:
    from mixopt.study import Study


@Parameter(name="*")
@dataclass(frozen=True)
class Asked(Where):
    """Which schedule is asked about, and with how many runs of each kind.

    Attributes:
        seeds: Common seeds of everything that is compared.
        fraction: Take the best schedule with this upsample fraction instead of the recommended.
    """

    seeds: int = 3
    fraction: float | None = None

    def train(self, ask: Any, study: Path, *given: Any) -> Any:
        """The answer of a question that trains runs, whose progress is shown."""
        from mixopt.tune.progress import Progress

        job, seeds, fraction = self.job(study), self.seeds, self.fraction
        return ask(job, *given, seeds=seeds, fraction=fraction, progress=Progress())


@app.command
def attribute(study: StudyPath, /, *, domain: str, of: Asked = Asked()) -> None:
    """Train the recommended schedule with and without a domain, and report what it does.

    Args:
        domain: Left out of the last phase, the other weights renormalised.
    """
    from mixopt.report.effects import attribution_table
    from mixopt.tune.analysis_jobs import attribute_job

    found = of.train(attribute_job, study, domain)
    emit(found, of.json, attribution_table(found))


@app.command
def controls(study: StudyPath, /, *, of: Asked = Asked()) -> None:
    """Train the recommended schedule's controls: how much of its gain is order and exposure."""
    from mixopt.report.effects import controls_table
    from mixopt.tune.analysis_jobs import controls_job

    found = of.train(controls_job, study)
    emit(found, of.json, controls_table(found))


@app.command
def rates(
    study: StudyPath,
    /,
    *,
    peaks: Annotated[tuple[float, ...], Parameter(consume_multiple=True)] = (0.5, 1.0, 2.0),
    warmups: Annotated[tuple[float, ...], Parameter(consume_multiple=True)] = (0.0, 0.01, 0.02),
    of: Asked = Asked(),
) -> None:
    """Train levels of peak and warm-up in the last phase of the recommended schedule.

    Args:
        peaks: Peaks of the last phase over the run's.
        warmups: Shares of the last phase spent rising.
    """
    from mixopt.report.effects import rates_table
    from mixopt.tune.analysis_jobs import rates_job

    found = of.train(rates_job, study, peaks, warmups)
    emit(found, of.json, rates_table(found))


@app.command
def tradeoff(
    study: StudyPath,
    /,
    *,
    target: Names,
    general: Names,
    slack: float,
    confidence: float = 0.9,
    into: Into = None,
    at: Where = HERE,
) -> None:
    """Show general against target ability over the upsample fraction; nothing is trained.

    Args:
        target: NAME=WEIGHT of the metrics to gain on, or one metric's name alone.
        general: NAME=WEIGHT of the metrics to keep, or one metric's name alone.
        slack: Allowed rise of the general loss over the baseline's, in nats per token.
        confidence: Probability with which it must stay within.
    """
    from mixopt.analysis.fit_arguments import parse_weights
    from mixopt.report.tradeoff_page import pareto_table, trade_off_table, write_trade_off
    from mixopt.tune.analysis_jobs import trade_off_job

    weights = parse_weights(target, "--target"), parse_weights(general, "--general")
    job = at.job(study)
    found = trade_off_job(job, *weights, slack=slack, confidence=confidence)
    emit(found, at.json, trade_off_table(found), pareto_table(found))
    with writing(into or job.out) as folder:
        say(f"wrote {write_trade_off(found, folder)}")


@app.command
def phases(
    study: StudyPath, /, *, most: int = 6, smoothness: float = 0.0, at: Where = HERE
) -> None:
    """Show what schedules of 1, 2, 3, ... phases would gain, and when more stop paying.

    The study must have two phases; nothing is trained.

    Args:
        most: Number of phases to stop at.
        smoothness: Price per squared change of the weights from phase to phase, in nats per token.
    """
    from mixopt.report.effects import phases_table
    from mixopt.tune.analysis_jobs import phases_job

    found = phases_job(at.job(study), most=most, smoothness=smoothness)
    emit(found, at.json, phases_table(found))


@app.command
def critical(
    study: StudyPath | None = None,
    /,
    *,
    table: str | None = None,
    step: Amount = 10_000,
    runs: Path | None = None,
    base_loss: float | None = None,
    old: Names | None = None,
    tokens: Amount | None = None,
    undecayed: bool = False,
    level: float = 0.95,
    at: Where = HERE,
) -> None:
    """Find the smallest share of old data that keeps the old loss when training continues.

    Args:
        table: Name of a table of real runs instead (continual).
        step: Length of training, for a table.
        runs: CSV of runs instead, with the columns share, loss and, if it varies, base.
        base_loss: Old loss of the checkpoint that training continued from, for a CSV.
        old: NAME=WEIGHT of the metrics that stand for the old ability, for a study; by default the
            metrics named like the domains of its first phase, by their weights there.
        tokens: Horizon of a study's runs, the base's tokens included; by default their end.
        undecayed: Read an earlier rung though the learning rate had not come down there.
        level: Probability of the interval.
    """
    if sum(given is not None for given in (study, table, runs)) != 1:
        raise MixoptError(
            "mixopt critical reads one thing: a study, a --table or --runs", "give one of them"
        )
    from mixopt.analysis.critical_share import critical_of, read_runs
    from mixopt.report.effects import critical_table

    if table is not None:
        from mixopt.bench import critical as from_table

        found = from_table(table, step=step, level=level)
    elif runs is not None:
        found = critical_of(*read_runs(runs, base_loss), level=level)
    else:
        assert study is not None, "one of the three is given"
        found = _critical(at.study(study), old, tokens, undecayed, level)
    emit(found, at.json, critical_table(found))


def _critical(
    study: Study, old: list[str] | None, tokens: int | None, undecayed: bool, level: float
) -> Any:
    from mixopt.analysis.critical_share import continual_runs, critical_of, old_metrics
    from mixopt.analysis.fit_arguments import parse_weights

    weights = parse_weights(old, "--old") if old else old_metrics(study)
    found = continual_runs(study, weights, tokens=tokens, undecayed=undecayed)
    if undecayed and tokens is not None:
        say(
            f"read at {tokens:,} tokens, where the learning rate may not have come down: a run of "
            "that length ends lower"
        )
    return critical_of(found.shares, found.rises, level=level)
