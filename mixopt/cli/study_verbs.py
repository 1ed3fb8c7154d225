"""Verbs about a study: run, inherit, recommend, trials, export, report."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from mixopt import __version__
from mixopt.cli.app import (
    Into,
    Json,
    Out,
    Storage,
    app,
    pairs,
    present,
    print_out,
    say,
    show,
    writing,
)
from mixopt.errors import ExportError

if TYPE_CHECKING:
    from mixopt.export import Provenance
    from mixopt.propose import Recommendation
    from mixopt.space import Schedule
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
    address: str | None = None,
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
        address: Of the Ray to use: `auto` for the one that runs, `local`, or HOST:PORT.
        strict: Exit with code 3 unless the recommendation is shown to be better.
        json: Print the recommendation as JSON.
    """
    from mixopt.tune.job import Job
    from mixopt.tune.run_job import run_job

    job = Job.open(study, out, storage)
    if dry_run:
        _estimate(job, json)
        return
    done = run_job(job, say=say, retry_failed=retry_failed, address=address)
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
def export(
    study: Path,
    /,
    *,
    to: Annotated[str, Parameter(name="--to")],
    trial: str | None = None,
    out: Out = None,
    storage: Storage = None,
    into: Into = None,
    path: Annotated[list[str] | None, Parameter(name="--path")] = None,
    sequence_length: int | None = None,
    json: Json = False,
) -> None:
    """Write the recommended schedule, or that of a trial, for a trainer.

    Args:
        study: YAML file of the study, its folder, or a schedule.json.
        to: Name of the format.
        trial: Id of a trial whose schedule is written instead of the recommended one.
        out: Folder of the run.
        storage: Database URL.
        into: Folder of the files; by default that of the run or of the schedule.json.
        path: NAME=PATH, where the trainer finds a domain; once per domain.
        sequence_length: Tokens per sequence, for trainers that count sequences.
        json: Print the paths written as JSON.
    """
    from mixopt.tune.job import Job

    known = pairs(path or [], "--path")
    if study.suffix == ".json":
        from mixopt.export import export_file

        folder = into or out or study.parent
        written = export_file(
            study, to=to, out=folder, paths=known, sequence_length=sequence_length
        )
    else:
        job = Job.open(study, out, storage)
        stored = job.existing_study()
        found = (
            _of_recommendation(stored.recommend()) if trial is None else _of_trial(stored, trial)
        )
        asked = _Export(job, stored, *found, into or job.out)
        written = asked.write([to], known, sequence_length)
    print(jsonlib.dumps([str(p) for p in written]) if json else "\n".join(map(str, written)))


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
    from mixopt.report import report_data, write_report

    paths = []
    wanted = _Export(job, study, *_of_recommendation(recommendation), job.out)
    for name in job.file.exports:
        try:
            paths += wanted.write([name])
        except ExportError as error:
            say(f"not exported for {name}: {error}")
    with writing(job.out) as folder:
        return [*paths, write_report(report_data(study, recommendation), folder)]


def _of_recommendation(recommendation: Recommendation) -> tuple[Schedule, str]:
    """The recommended schedule and what it is worth, in a sentence."""
    return recommendation.schedule, recommendation.verdict


def _of_trial(study: Study, trial: str) -> tuple[Schedule, str]:
    state = study.state()
    record = state.record_of(trial)
    value = state.value_of(record)
    measured = "" if value is None else f", objective {value:.6g}"
    return record.trial.schedule, f"The schedule of trial {trial} ({record.state}{measured})."


@dataclass(frozen=True)
class _Export:
    """A schedule of a study, to be written.

    Attributes:
        job: Its file.
        study: Gives the space and what the results depend on.
        schedule: What is written.
        note: A sentence on it.
        into: The folder.
    """

    job: Job
    study: Study
    schedule: Schedule
    note: str
    into: Path

    def write(
        self,
        names: Sequence[str],
        paths: dict[str, str] | None = None,
        sequence_length: int | None = None,
    ) -> list[Path]:
        """Write formats; returns the files."""
        from mixopt.export import export as write

        space, job = self.study.space, self.job
        unknown = [d.name for d in space.domains if d.path is None and d.name not in (paths or {})]
        if unknown and "schedule" not in names:
            say(f"no path is known for {', '.join(unknown)}: data/NAME stands in for it")
        return [
            path
            for name in names
            for path in write(
                self.schedule,
                space,
                to=name,
                out=self.into,
                tokens=(space.target or job.file.highest).tokens,
                paths={**{n: f"data/{n}" for n in unknown}, **(paths or {})},
                sequence_length=sequence_length or job.sequence_length,
                seed=job.file.seed,
                provenance=self._provenance(),
            )
        ]

    def _provenance(self) -> Provenance:
        """Where the schedule comes from; the tokens' fingerprints only where the corpus is here."""
        from mixopt.export import Provenance

        corpus = self.job.built_corpus()
        return Provenance(
            study=self.study.name,
            space=self.study.space.name,
            mixopt=__version__,
            note=self.note,
            tokenizer=None if corpus is None else corpus.tokenizer_path.name,
            tokenizer_fingerprint=None if corpus is None else corpus.index.tokenizer_sha256,
            corpus_fingerprints={} if corpus is None else corpus.train_fingerprints(),
        )


def require_better(recommendation: Recommendation, strict: bool) -> None:
    """End with a code of its own where the gain over the baseline is not shown.

    Raises:
        SystemExit: If ``strict`` and the interval of the gain is not wholly below the baseline.
    """
    if strict and not recommendation.better_than_baseline:
        say("not shown to be better than the baseline (--strict)")
        raise SystemExit(NOT_BETTER)
