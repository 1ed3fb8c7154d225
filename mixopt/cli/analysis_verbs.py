"""Verbs about a schedule: attribute, controls, rates, tradeoff, phases, critical."""

from __future__ import annotations

import json as jsonlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from mixopt.cli.app import (
    Into,
    Json,
    Out,
    Storage,
    app,
    print_out,
    say,
    writing,
)
from mixopt.errors import MixoptError

if TYPE_CHECKING:
    from mixopt.report.components import Table
    from mixopt.tune.job import Job


@Parameter(name="*")
@dataclass(frozen=True)
class Where:
    """Where a run is, and how results are printed.

    Attributes:
        out: Folder of the run.
        storage: Database URL.
        json: Print JSON.
    """

    out: Out = None
    storage: Storage = None
    json: Json = False

    def show(self, found: Any, *tables: Table) -> None:
        """Print a result as JSON or as its tables."""
        from mixopt.report.terminal import as_json, render

        if self.json:
            print(as_json(found))
        else:
            for table in tables:
                print_out(render(table))


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


@app.command
def attribute(
    study: Path,
    /,
    *,
    domain: str,
    of: Asked = Asked(),
) -> None:
    """Train the recommended schedule with and without a domain, and report what it does.

    Args:
        study: YAML file of the study, or its folder.
        domain: Left out of the last phase, the other weights renormalised.
        of: Which schedule, how many seeds, and where.
    """
    from mixopt.report.effects import attribution_table
    from mixopt.tune.analysis_jobs import attribute_job
    from mixopt.tune.job import Job
    from mixopt.tune.progress import Progress

    job = Job.open(study, of.out, of.storage)
    found = attribute_job(job, domain, seeds=of.seeds, fraction=of.fraction, progress=Progress())
    of.show(found, attribution_table(found))


@app.command
def controls(
    study: Path,
    /,
    *,
    of: Asked = Asked(),
) -> None:
    """Train the recommended schedule's controls: how much of its gain is order, how much exposure.

    Args:
        study: YAML file of the study, or its folder.
        of: Which schedule, how many seeds, and where.
    """
    from mixopt.report.effects import controls_table
    from mixopt.tune.analysis_jobs import controls_job
    from mixopt.tune.job import Job
    from mixopt.tune.progress import Progress

    job = Job.open(study, of.out, of.storage)
    found = controls_job(job, seeds=of.seeds, fraction=of.fraction, progress=Progress())
    of.show(found, controls_table(found))


@app.command
def rates(
    study: Path,
    /,
    *,
    peaks: Annotated[tuple[float, ...], Parameter(consume_multiple=True)] = (0.5, 1.0, 2.0),
    warmups: Annotated[tuple[float, ...], Parameter(consume_multiple=True)] = (0.0, 0.01, 0.02),
    of: Asked = Asked(),
) -> None:
    """Train levels of peak and warm-up in the last phase of the recommended schedule.

    Args:
        study: YAML file of the study, or its folder.
        peaks: Peaks of the last phase over the run's.
        warmups: Shares of the last phase spent rising.
        of: Which schedule, how many seeds, and where.
    """
    from mixopt.report.effects import rates_table
    from mixopt.tune.analysis_jobs import rates_job
    from mixopt.tune.job import Job
    from mixopt.tune.progress import Progress

    job, progress = Job.open(study, of.out, of.storage), Progress()
    found = rates_job(job, peaks, warmups, seeds=of.seeds, fraction=of.fraction, progress=progress)
    of.show(found, rates_table(found))


@app.command
def tradeoff(
    study: Path,
    /,
    *,
    target: Annotated[list[str], Parameter(name="--target", consume_multiple=True)],
    general: Annotated[list[str], Parameter(name="--general", consume_multiple=True)],
    slack: float,
    confidence: float = 0.9,
    into: Into = None,
    at: Where = Where(),
) -> None:
    """Show general against target ability over the upsample fraction; nothing is trained.

    Args:
        study: YAML file of the study, or its folder.
        target: NAME=WEIGHT of the metrics to gain on, or one metric's name alone.
        general: NAME=WEIGHT of the metrics to keep, or one metric's name alone.
        slack: Allowed rise of the general loss over the baseline's, in nats per token.
        confidence: Probability with which it must stay within.
        into: Folder of the page; by default that of the run.
        at: Where the run is, and how to print.
    """
    from mixopt.analysis.from_tables import parse_weights
    from mixopt.report.tradeoff_page import pareto_table, trade_off_table, write_trade_off
    from mixopt.tune.analysis_jobs import trade_off_job
    from mixopt.tune.job import Job

    weights = parse_weights(target, "--target"), parse_weights(general, "--general")
    job = Job.open(study, at.out, at.storage)
    found = trade_off_job(job, *weights, slack=slack, confidence=confidence)
    at.show(found, trade_off_table(found), pareto_table(found))
    with writing(into or job.out) as folder:
        say(f"wrote {write_trade_off(found, folder)}")


@app.command
def phases(
    study: Path,
    /,
    *,
    most: int = 6,
    smoothness: float = 0.0,
    at: Where = Where(),
) -> None:
    """Show what schedules of 1, 2, 3, ... phases would gain, and when more stop paying.

    Args:
        study: YAML file of a study of two phases, or its folder; nothing is trained.
        most: Number of phases to stop at.
        smoothness: Price per squared change of the weights from phase to phase, in nats per token.
        at: Where the run is, and how to print.
    """
    from mixopt.report.effects import phases_table
    from mixopt.tune.analysis_jobs import phases_job
    from mixopt.tune.job import Job

    found = phases_job(Job.open(study, at.out, at.storage), most=most, smoothness=smoothness)
    at.show(found, phases_table(found))


@app.command
def critical(
    study: Path | None = None,
    /,
    *,
    table: str | None = None,
    step: int = 10_000,
    runs: Path | None = None,
    base_loss: float | None = None,
    old: Annotated[list[str] | None, Parameter(name="--old", consume_multiple=True)] = None,
    tokens: int | None = None,
    undecayed: Annotated[bool, Parameter(negative="")] = False,
    level: float = 0.95,
    at: Where = Where(),
) -> None:
    """Find the smallest share of old data that keeps the old loss when training continues.

    Args:
        study: YAML file of a study whose runs continue on old and new domains, or its folder.
        table: Name of a table of real runs instead (continual).
        step: Length of training, for a table.
        runs: CSV of runs instead, with the columns share, loss and, if it varies, base.
        base_loss: Old loss of the checkpoint that training continued from, for a CSV.
        old: NAME=WEIGHT of the metrics that stand for the old ability, for a study; by default the
            metrics named like the domains of its first phase, by their weights there.
        tokens: Horizon of a study's runs, the base's tokens included; by default their end.
        undecayed: Read an earlier rung though the learning rate had not come down there.
        level: Probability of the interval.
        at: Where the run is, and how to print.
    """
    if sum(given is not None for given in (study, table, runs)) != 1:
        raise MixoptError(
            "mixopt critical reads one thing: a study, a --table or --runs", "give one of them"
        )
    if table is not None:
        from mixopt.bench import critical as from_table
        from mixopt.bench.show import critical_table

        answer = from_table(table, step=step, level=level)
        print(jsonlib.dumps(answer)) if at.json else print_out(critical_table(answer))
        return
    if runs is not None:
        from mixopt.analysis.critical_share import critical_of, read_runs

        found = critical_of(*read_runs(runs, base_loss), level=level)
    else:
        from mixopt.tune.job import Job

        assert study is not None, "one of the three is given"
        found = _critical(Job.open(study, at.out, at.storage), old, tokens, undecayed, level)
    from mixopt.report.effects import critical_table as table_of

    at.show(found, table_of(found))


def _critical(
    job: Job, old: list[str] | None, tokens: int | None, undecayed: bool, level: float
) -> Any:
    from mixopt.analysis.critical_share import continual_runs, critical_of, old_metrics
    from mixopt.analysis.from_tables import parse_weights

    study = job.existing_study()
    weights = parse_weights(old, "--old") if old else old_metrics(study)
    found = continual_runs(study, weights, tokens=tokens, undecayed=undecayed)
    if undecayed and tokens is not None:
        say(
            f"read at {tokens:,} tokens, where the learning rate may not have come down: a run of "
            "that length ends lower"
        )
    return critical_of(found.shares, found.rises, level=level)
