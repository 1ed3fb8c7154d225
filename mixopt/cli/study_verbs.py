"""Verbs about a study: run, inherit, recommend, trials, report."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from mixopt.cli.app import (
    Into,
    Json,
    Out,
    Storage,
    app,
    present,
    print_out,
    say,
    show,
    writing,
)

if TYPE_CHECKING:
    from mixopt.propose import Recommendation
    from mixopt.study import Study
    from mixopt.tune.job import Job


#: Exit code of ``--strict`` for a recommendation that is not shown to be better.
NOT_BETTER = 3

Strict = Annotated[
    bool,
    Parameter(
        name="--strict",
        negative="",
        help="Exit with code 3 unless the recommendation is shown to be better than the baseline.",
    ),
]


@app.command
def run(
    study: Path,
    /,
    *,
    out: Out = None,
    storage: Storage = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    retry_failed: Annotated[bool, Parameter(negative="")] = False,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Run a study to its recommendation; the same command again goes on where it stopped.

    Args:
        study: YAML file of the study, or the folder of an earlier run.
        out: Folder of the run (default runs/NAME).
        storage: Database URL (default SQLite in the folder).
        dry_run: Print trials, tokens, FLOPs and the estimated time, and stop.
        retry_failed: Run failed trials again first, with the same weights and seeds.
        strict: Exit with code 3 unless the recommendation is shown to be better.
        json: Print the recommendation as JSON.
    """
    from mixopt.tune.job import Job
    from mixopt.tune.run_job import run_job

    job = Job.open(study, out, storage)
    if dry_run:
        _estimate(job, json)
        return
    done = run_job(job, say=say, retry_failed=retry_failed)
    # Printed before anything else that can fail.
    present(job.study, done.recommendation, json)
    say(f"stopped: {done.stop_reason}")
    say(str(done))
    for path in _write(job, job.study, done.recommendation):
        say(f"wrote {path}")
    require_better(done.recommendation, strict)


def _estimate(job: Job, json: bool) -> None:
    from mixopt.report.terminal import estimate_table
    from mixopt.tune.cost_estimate import estimate_cost

    found = estimate_cost(job)
    show(estimate_table(found), found, json)
    for advice in found.advice:
        say(advice)


@app.command
def inherit(
    study: Path,
    /,
    *,
    old: Path,
    split: Annotated[list[str] | None, Parameter(name="--split")] = None,
    out: Out = None,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Attach an old study's finished trials to a study whose domains were added, removed or split.

    Args:
        study: YAML file of the new study, or its folder.
        old: YAML file of the old study, or its folder.
        split: OLD=NEW:SHARE,NEW:SHARE, what a domain became; once per domain that is gone.
        out: Folder of the new study's run.
        storage: Database URL of the new study.
        json: Print what was attached and left out as JSON.
    """
    from dataclasses import asdict

    from mixopt.study.transfer import parse_split
    from mixopt.tune.job import Job
    from mixopt.tune.run_job import inherit_job

    job = Job.open(study, out, storage)
    done = inherit_job(job, Job.open(old).existing_study(), parse_split(split or []), say)
    for name, reason in done.left_out.items():
        say(f"left out {name}: {reason}")
    for difference in done.differs:
        say(f"not the same in both studies: {difference}")
    print(jsonlib.dumps(asdict(done)) if json else f"attached {len(done.attached)} trials")


@app.command
def recommend(
    study: Path,
    /,
    *,
    out: Out = None,
    storage: Storage = None,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Recommend a schedule from what a study knows so far.

    Args:
        study: YAML file of the study, or its folder.
        out: Folder of the run.
        storage: Database URL.
        strict: Exit with code 3 unless the recommendation is shown to be better.
        json: Print JSON.
    """
    from mixopt.tune.job import Job

    known = Job.open(study, out, storage).existing_study()
    found = known.recommend()
    present(known, found, json)
    require_better(found, strict)


@app.command
def trials(study: Path, /, *, out: Out = None, storage: Storage = None, json: Json = False) -> None:
    """List a study's trials: state, objective, time, and why one failed.

    Args:
        study: YAML file of the study, or its folder.
        out: Folder of the run.
        storage: Database URL.
        json: Print every column of every trial as JSON.
    """
    from mixopt.report.report_data import ReportData
    from mixopt.report.study_tables import trials_table
    from mixopt.report.terminal import render
    from mixopt.tune.job import Job

    known = Job.open(study, out, storage).existing_study()
    if json:
        print(known.trials().to_json(orient="records"))
        return
    data = ReportData(
        name=known.name,
        space=known.space,
        objective=known.objective,
        recommendation=None,
        trials=known.trials(),
    )
    print_out(render(trials_table(data)))


@app.command
def report(study: Path, /, *, out: Out = None, storage: Storage = None, into: Into = None) -> None:
    """Write the HTML report of a study.

    Args:
        study: YAML file of the study, or its folder.
        out: Folder of the run.
        storage: Database URL.
        into: Folder of the report; by default that of the run.
    """
    from mixopt.report import report_data, write_report
    from mixopt.tune.job import Job

    job = Job.open(study, out, storage)
    data = report_data(job.existing_study())
    with writing(into or job.out) as folder:
        print(write_report(data, folder))


def _write(job: Job, study: Study, recommendation: Recommendation) -> list[Path]:
    """Every file a finished run leaves behind; one that cannot be written stops no other."""
    from mixopt.cli.export_verbs import write_exports
    from mixopt.report import report_data, write_report

    paths = write_exports(job, study, recommendation)
    with writing(job.out) as folder:
        return [*paths, write_report(report_data(study, recommendation), folder)]


def require_better(recommendation: Recommendation, strict: bool) -> None:
    """End with a code of its own where the gain over the baseline is not shown.

    Raises:
        SystemExit: If ``strict`` and the interval of the gain is not wholly below the baseline.
    """
    if strict and not recommendation.better_than_baseline:
        say("not shown to be better than the baseline (--strict)")
        raise SystemExit(NOT_BETTER)
