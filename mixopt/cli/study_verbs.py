"""Verbs about a study: run, inherit, recommend, reweigh, trials, report."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from mixopt.cli.app import (
    HERE,
    Into,
    Names,
    StudyPath,
    Where,
    app,
    emit,
    pairs,
    say,
    writing,
)
from mixopt.cli.service_verbs import Secret
from mixopt.errors import MixoptError

if TYPE_CHECKING:
    from mixopt.propose import Recommendation
    from mixopt.study import Study
    from mixopt.tune.job import Job


#: Exit code of ``--strict`` for a recommendation that is not shown to be better.
NOT_BETTER = 3

Strict = Annotated[
    bool, Parameter(help="Exit with code 3 unless shown to be better than the baseline.")
]


@app.command
def run(
    study: StudyPath,
    /,
    *,
    dry_run: bool = False,
    retry_failed: bool = False,
    address: str | None = None,
    server: str | None = None,
    token: Secret = None,
    strict: Strict = False,
    at: Where = HERE,
) -> None:
    """Run a study to its recommendation; the same command again goes on where it stopped.

    Args:
        dry_run: Print trials, tokens, FLOPs and the estimated time, and stop.
        retry_failed: Run failed trials again first, with the same weights and seeds.
        address: Of the Ray to use: `auto` for the one that runs, `local`, or HOST:PORT.
        server: URL of a service that proposes and stores; Ray runs the trials here.
        token: Of the service, of scope work; of scope admin where the study is new.
    """
    from mixopt.tune.run_job import run_job

    job = at.job(study)
    if dry_run:
        _estimate(job, at.json)
        return
    if server is not None:
        _run_served(job, server, token, address, strict=strict, json=at.json)
        return
    done = run_job(job, say=say, retry_failed=retry_failed, address=address)
    # Printed before anything else that can fail.
    present(job.study, done.recommendation, at.json)
    say(f"stopped: {done.stop_reason}")
    say(str(done))
    for path in _write(job, job.study, done.recommendation):
        say(f"wrote {path}")
    require_better(done.recommendation, strict)


def _run_served(
    job: Job, server: str, token: str | None, address: str | None, *, strict: bool, json: bool
) -> None:
    from mixopt.cli.export_verbs import write_exports
    from mixopt.report.terminal import recommendation_table
    from mixopt.service.run_on_ray import Server, run_served
    from mixopt.study.results.estimates import answer_of

    held, found = run_served(job, Server(server, token), say=say, address=address)
    whole = found.model_dump() | {"answer": answer_of(found).model_dump()}
    with closing(held), writing(job.out) as folder:
        emit(whole, json, recommendation_table(found, held.space))
        say(f"stopped: {held.stop_reason}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.html").write_bytes(held.report())
        for path in [*write_exports(job, held, found), folder / "report.html"]:
            say(f"wrote {path}")
    require_better(found, strict)


def _estimate(job: Job, json: bool) -> None:
    from mixopt.report.terminal import estimate_table
    from mixopt.tune.cost_estimate import estimate_cost

    found = estimate_cost(job)
    emit(found, json, estimate_table(found))
    for advice in found.advice:
        say(advice)


@app.command
def inherit(
    study: StudyPath,
    /,
    *,
    old: Path,
    split: list[str] | None = None,
    at: Where = HERE,
) -> None:
    """Attach an old study's finished trials to a study whose domains were added, removed or split.

    Args:
        old: YAML file of the old study, or its folder.
        split: OLD=NEW:SHARE,NEW:SHARE, what a domain became; once per domain that is gone.
    """
    from mixopt.study.transfer import parse_split
    from mixopt.tune.run_job import inherit_job

    old_study = HERE.study(old)
    done = inherit_job(at.job(study), old_study, parse_split(split or []), say)
    for name, reason in done.left_out.items():
        say(f"left out {name}: {reason}")
    for difference in done.differs:
        say(f"not the same in both studies: {difference}")
    emit(done, at.json, f"attached {len(done.attached)} trials")


@app.command
def recommend(study: StudyPath, /, *, strict: Strict = False, at: Where = HERE) -> None:
    """Recommend a schedule from what a study knows so far."""
    known = at.study(study)
    found = known.recommend()
    present(known, found, at.json)
    require_better(found, strict)


@app.command
def reweigh(study: StudyPath, /, *, weights: Names, at: Where = HERE) -> None:
    """Recommend under another objective, from the trials that a study has; nothing is trained.

    Args:
        study: YAML file of the study, or the folder of an earlier run.
        weights: METRIC=WEIGHT, of every metric that counts; they sum to 1.
        at: Where the run is.
    """
    from mixopt.study import Study

    old = at.study(study)
    numbers = {name: _number(name, text) for name, text in pairs(weights, "--weights").items()}
    new = Study(
        old.name,
        old.space,
        old.objective.reweighed(numbers),
        fidelity=old.fidelity,
        fidelities=old.config.fidelities,
        storage=None,
        seed=old.seed,
        initial=old.config.initial,
    )
    new.inherit(old)
    present(new, new.recommend(), at.json)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise MixoptError(
            f"the weight of {name!r} must be a number; got {text!r}",
            "write --weights web=0.5 code=0.5",
        ) from None


def present(study: Study, found: Recommendation, json: bool) -> None:
    """Print a recommendation, what it is worth in tokens and, as JSON, its answer on one scale."""
    from mixopt.report.report_data import token_worth_or_reason
    from mixopt.report.terminal import recommendation_table
    from mixopt.study.results.estimates import answer_of

    worth, no_worth = token_worth_or_reason(study, found)
    whole = found.model_dump() | {
        "answer": answer_of(found).model_dump(),
        "worth": worth and worth.model_dump(),
        "no_worth": no_worth,
    }
    emit(whole, json, recommendation_table(found, study.space, worth=worth))


@app.command
def trials(study: StudyPath, /, *, at: Where = HERE) -> None:
    """List a study's trials: state, objective, time, and why one failed."""
    from mixopt.report.report_data import ReportData
    from mixopt.report.study_tables import trials_table

    known = at.study(study)
    found = known.trials()
    if at.json:
        print(found.to_json(orient="records"))
        return
    data = ReportData(known.name, known.space, known.objective, recommendation=None, trials=found)
    emit(None, False, trials_table(data))


@app.command
def report(study: StudyPath, /, *, into: Into = None, at: Where = HERE) -> None:
    """Write the HTML report of a study."""
    from mixopt.report import report_data, write_report

    job = at.job(study)
    data = report_data(job.existing_study())
    with writing(into or job.out) as folder:
        written = str(write_report(data, folder))
    emit(written, at.json, written)


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
