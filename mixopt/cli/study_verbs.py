"""Verbs about a study: run, recommend, export, report."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from mixopt import __version__
from mixopt.cli.app import (
    Json,
    Out,
    Storage,
    app,
    pairs,
    present,
    say,
    show,
)
from mixopt.errors import ExportError

if TYPE_CHECKING:
    from mixopt.tune.job import Job


@app.command
def run(
    study: Path,
    /,
    *,
    out: Out = None,
    storage: Storage = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    retry_failed: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Run a study to its recommendation; the same command again goes on where it stopped.

    Args:
        study: YAML file of the study, or the folder of an earlier run.
        out: Folder of the run (default runs/NAME).
        storage: Database URL (default SQLite in the folder).
        dry_run: Print trials, tokens, FLOPs and the estimated time, and stop.
        retry_failed: Run failed trials again first, with the same weights and seeds.
        json: Print the recommendation as JSON.
    """
    from mixopt.report.terminal import plan_table
    from mixopt.tune.job import Job, plan

    job = Job.open(study, out, storage)
    if dry_run:
        planned = plan(job)
        show(plan_table(planned), planned, json)
        for advice in planned.advice:
            say(advice)
        return
    if retry_failed:
        say(f"to run again: {', '.join(job.existing_study().requeue()) or 'nothing failed'}")
    _run(job, json)


def _run(job: Job, json: bool) -> None:
    from mixopt.tune.job import run_job

    done = run_job(job, say=say)
    written = _write(job, done.recommendation)
    present(job, done.recommendation, json)
    say(f"stopped: {done.stop_reason}")
    say(str(done))
    for path in written:
        say(f"wrote {path}")


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

    job = Job.open(study, out, storage)
    before = Job.open(old).existing_study()
    job.prepare(say)
    done = job.study.inherit(before, split=parse_split(split or []))
    for name, reason in done.left_out.items():
        say(f"left out {name}: {reason}")
    for difference in done.differs:
        say(f"not the same in both studies: {difference}")
    print(jsonlib.dumps(asdict(done)) if json else f"attached {len(done.attached)} trials")


@app.command
def recommend(
    study: Path, /, *, out: Out = None, storage: Storage = None, json: Json = False
) -> None:
    """Recommend a schedule from what a study knows so far.

    Args:
        study: YAML file of the study, or its folder.
        out: Folder of the run.
        storage: Database URL.
        json: Print JSON.
    """
    from mixopt.tune.job import Job

    job = Job.open(study, out, storage)
    present(job, job.existing_study().recommend(), json)


@app.command
def export(
    study: Path,
    /,
    *,
    to: Annotated[str, Parameter(name="--to")],
    out: Out = None,
    storage: Storage = None,
    path: Annotated[list[str] | None, Parameter(name="--path")] = None,
    sequence_length: int | None = None,
    json: Json = False,
) -> None:
    """Write the recommended schedule for a trainer.

    Args:
        study: YAML file of the study, its folder, or a schedule.json.
        to: Name of the format.
        out: Folder of the run; of the files, for a schedule.json.
        storage: Database URL.
        path: NAME=PATH, where the trainer finds a domain; once per domain.
        sequence_length: Tokens per sequence, for trainers that count sequences.
        json: Print the paths written as JSON.
    """
    from mixopt.tune.job import Job

    known = pairs(path or [], "--path")
    if study.suffix == ".json":
        from mixopt.export import export_file

        written = export_file(
            study, to=to, out=out or study.parent, paths=known, sequence_length=sequence_length
        )
    else:
        job = Job.open(study, out, storage)
        written = _export(job, job.existing_study().recommend(), [to], known, sequence_length)
    print(jsonlib.dumps([str(p) for p in written]) if json else "\n".join(map(str, written)))


@app.command
def report(study: Path, /, *, out: Out = None, storage: Storage = None) -> None:
    """Write the HTML report of a study.

    Args:
        study: YAML file of the study, or its folder.
        out: Folder of the run.
        storage: Database URL.
    """
    from mixopt.report import report_data, write_report
    from mixopt.tune.job import Job

    job = Job.open(study, out, storage)
    print(write_report(report_data(job.existing_study()), job.out))


def _write(job: Job, recommendation: Any) -> list[Path]:
    """Every file a finished run leaves behind; one that cannot be written stops no other."""
    from mixopt.report import report_data, write_report

    paths = []
    for name in job.file.exports:
        try:
            paths += _export(job, recommendation, [name])
        except ExportError as error:
            say(f"not exported for {name}: {error}")
    data = report_data(job.study, recommendation)
    return [*paths, write_report(data, job.out)]


def _export(
    job: Job,
    recommendation: Any,
    names: Sequence[str],
    paths: dict[str, str] | None = None,
    sequence_length: int | None = None,
) -> list[Path]:
    from mixopt.export import Provenance
    from mixopt.export import export as write

    corpus = job.corpus
    unknown = [d.name for d in job.space.domains if d.path is None and d.name not in (paths or {})]
    if unknown and "schedule" not in names:
        say(f"no path is known for {', '.join(unknown)}: data/NAME stands in for it")
    return [
        path
        for name in names
        for path in write(
            recommendation.schedule,
            job.space,
            to=name,
            out=job.out,
            tokens=(job.space.target or job.file.highest).tokens,
            paths={**{n: f"data/{n}" for n in unknown}, **(paths or {})},
            sequence_length=sequence_length or job.sequence_length,
            seed=job.file.seed,
            provenance=Provenance(
                study=job.file.name,
                space=job.space.name,
                mixopt=__version__,
                tokenizer=None if corpus is None else corpus.tokenizer_path.name,
                tokenizer_fingerprint=None if corpus is None else corpus.index.tokenizer_sha256,
                corpus_fingerprints={} if corpus is None else corpus.train_fingerprints(),
            ),
        )
    ]
