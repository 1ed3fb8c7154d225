"""The verbs of ``mixopt``. Results go to stdout, progress and logs to stderr.

Every verb imports what it needs when it is called, so that ``mixopt --help`` answers at once.
"""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from mixopt import __version__
from mixopt.errors import ExportError, MixoptError

if TYPE_CHECKING:
    from mixopt.tune.job import Job

app = App(name="mixopt", version=__version__, help="Choose training-data mixtures by small runs.")
corpus_app = App(name="corpus", help="Turn text into the token shards that proxies train on.")
space_app = App(name="space", help="Look at search spaces.")
app.command(corpus_app)
app.command(space_app)

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON on stdout.")]
Out = Annotated[Path | None, Parameter(name="--out", help="Folder of the run.")]
Storage = Annotated[str | None, Parameter(name="--storage", help="Database URL of the study.")]


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
    from mixopt.report.tables import plan_table
    from mixopt.tune.job import Job, plan

    job = Job.open(study, out, storage)
    if dry_run:
        planned = plan(job)
        _show(plan_table(planned), planned, json)
        return
    if retry_failed:
        _say(f"to run again: {', '.join(job.existing_study().requeue()) or 'nothing failed'}")
    _run(job, json)


def _run(job: Job, json: bool) -> None:
    from mixopt.tune.job import run_job

    done = run_job(job, say=_say)
    written = _write(job, done.recommendation)
    _present(job, done.recommendation, json)
    _say(f"stopped: {done.stop_reason}")
    _say(str(done))
    for path in written:
        _say(f"wrote {path}")


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
    _present(job, job.existing_study().recommend(), json)


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

    known = _pairs(path or [], "--path")
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


@app.command
def attribute(
    study: Path,
    /,
    *,
    domain: str,
    seeds: int = 3,
    fraction: float | None = None,
    out: Out = None,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Train the recommended schedule with and without a domain, and report what it does.

    Args:
        study: YAML file of the study, or its folder.
        domain: Left out of the last phase, the other weights renormalised.
        seeds: Common seeds of both.
        fraction: Take the best schedule with this upsample fraction instead.
        out: Folder of the run.
        storage: Database URL.
        json: Print JSON.
    """
    from mixopt.report.effects import attribution_table
    from mixopt.report.tables import as_json, render
    from mixopt.tune.job import Job
    from mixopt.tune.progress import Progress
    from mixopt.tune.schedules import attribute_job

    job = Job.open(study, out, storage)
    found = attribute_job(job, domain, seeds=seeds, fraction=fraction, progress=Progress())
    print(as_json(found)) if json else _print(render(attribution_table(found)))


@app.command
def controls(
    study: Path,
    /,
    *,
    seeds: int = 3,
    fraction: float | None = None,
    out: Out = None,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Train the recommended schedule's controls: how much of its gain is order, how much exposure.

    Args:
        study: YAML file of the study, or its folder.
        seeds: Common seeds of the schedule and both controls.
        fraction: Take the best schedule with this upsample fraction instead.
        out: Folder of the run.
        storage: Database URL.
        json: Print JSON.
    """
    from mixopt.report.effects import controls_table
    from mixopt.report.tables import as_json, render
    from mixopt.tune.job import Job
    from mixopt.tune.progress import Progress
    from mixopt.tune.schedules import controls_job

    job = Job.open(study, out, storage)
    found = controls_job(job, seeds=seeds, fraction=fraction, progress=Progress())
    print(as_json(found)) if json else _print(render(controls_table(found)))


@app.command
def tradeoff(
    study: Path,
    /,
    *,
    target: Annotated[list[str], Parameter(name="--target", consume_multiple=True)],
    general: Annotated[list[str], Parameter(name="--general", consume_multiple=True)],
    slack: float,
    confidence: float = 0.9,
    out: Out = None,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Show general against target ability over the upsample fraction; nothing is trained.

    Args:
        study: YAML file of the study, or its folder.
        target: NAME=WEIGHT of the metrics to gain on, or one metric's name alone.
        general: NAME=WEIGHT of the metrics to keep, or one metric's name alone.
        slack: Allowed rise of the general loss over the baseline's, in nats per token.
        confidence: Probability with which it must stay within.
        out: Folder of the run; the figure is written there.
        storage: Database URL.
        json: Print JSON.
    """
    from mixopt.report.tables import as_json, render
    from mixopt.report.tradeoff import pareto_table, trade_off_table, write_trade_off
    from mixopt.study.finished import parse_weights
    from mixopt.tune.job import Job
    from mixopt.tune.schedules import trade_off_job

    weights = parse_weights(target, "--target"), parse_weights(general, "--general")
    job = Job.open(study, out, storage)
    found = trade_off_job(job, *weights, slack=slack, confidence=confidence)
    if json:
        print(as_json(found))
    else:
        _print(render(trade_off_table(found)))
        _print(render(pareto_table(found)))
    _say(f"wrote {write_trade_off(found, job.out)}")


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
    level: float = 0.95,
    out: Out = None,
    storage: Storage = None,
    json: Json = False,
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
        level: Probability of the interval.
        out: Folder of the run.
        storage: Database URL.
        json: Print JSON.
    """
    if sum(given is not None for given in (study, table, runs)) != 1:
        raise MixoptError(
            "mixopt critical reads one thing: a study, a --table or --runs", "give one of them"
        )
    if table is not None:
        from mixopt.bench import critical as from_table
        from mixopt.bench.show import critical_table

        answer = from_table(table, step=step, level=level)
        print(jsonlib.dumps(answer)) if json else _print(critical_table(answer))
        return
    found = _critical(study, runs, base_loss, old, level, out, storage)
    from mixopt.report.effects import critical_table as table_of
    from mixopt.report.tables import as_json, render

    print(as_json(found)) if json else _print(render(table_of(found)))


def _critical(
    study: Path | None,
    runs: Path | None,
    base_loss: float | None,
    old: list[str] | None,
    level: float,
    out: Path | None,
    storage: str | None,
) -> Any:
    from mixopt.study.continual import continual_runs, critical_of, old_metrics, read_runs

    if runs is not None:
        return critical_of(*read_runs(runs, base_loss), level=level)
    from mixopt.study.finished import parse_weights
    from mixopt.tune.job import Job

    assert study is not None, "one of the three is given"
    known = Job.open(study, out, storage).existing_study()
    weights = parse_weights(old, "--old") if old else old_metrics(known)
    found = continual_runs(known, weights)
    return critical_of(found.shares, found.rises, level=level)


@app.command
def fit(
    ratios: Path,
    metrics: Path,
    /,
    *,
    objective: Annotated[list[str], Parameter(name="--objective", consume_multiple=True)],
    space: Path | None = None,
    baseline: str | None = None,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Recommend a mixture from finished runs, without training anything.

    Args:
        ratios: CSV of a key column and one weight per domain.
        metrics: CSV of the same key column and one value per metric.
        objective: NAME=WEIGHT, once per metric, or the metric's name alone for all the weight.
        space: YAML of the search space (bounds, caps, baseline); the whole simplex by default.
        baseline: Mixture to compare with, as a=0.2,b=0.8; the mean of the runs by default.
        seed: Of every random draw.
        json: Print JSON.
    """
    from mixopt.report.tables import as_json, recommendation_table
    from mixopt.study.finished import fit_tables, parse_weights

    weights = parse_weights(objective, "--objective")
    mixture = parse_weights(baseline.split(","), "--baseline") if baseline else None
    fitted = fit_tables(ratios, metrics, weights, space=space, baseline=mixture, seed=seed)
    if json:
        print(as_json(fitted.recommendation))
    else:
        _print(recommendation_table(fitted.recommendation, fitted.space))


@corpus_app.command(name="build")
def corpus_build(spec: str, /, *, out: Path) -> None:
    """Build a corpus.

    Args:
        spec: YAML file, or the name of a shipped spec.
        out: Folder to make.
    """
    from mixopt.corpus import CorpusSpec, build_corpus
    from mixopt.space.library import corpus_spec_path

    path = Path(spec) if Path(spec).is_file() else corpus_spec_path(spec)
    corpus = build_corpus(CorpusSpec.from_yaml(path), out, progress=_say)
    for domain in corpus.domains:
        print(f"{domain}\t{corpus.count(domain, 'train')} training tokens")


@space_app.command(name="check")
def space_check(space: str, /, *, json: Json = False) -> None:
    """Check a search space: which fractions are feasible, and which caps bind or clash.

    Args:
        space: YAML file, or the name of a shipped space.
        json: Print JSON.
    """
    from mixopt.space import SearchSpace
    from mixopt.space.library import search_space_path

    path = Path(space) if Path(space).is_file() else search_space_path(space)
    checked = SearchSpace.from_yaml(path).summary()
    print(jsonlib.dumps(checked, indent=2) if json else _lines(checked))


@space_app.command(name="list")
def space_list() -> None:
    """List the search spaces that come with mixopt."""
    from mixopt.space.library import list_search_spaces

    print("\n".join(list_search_spaces()))


def _write(job: Job, recommendation: Any) -> list[Path]:
    """Every file a finished run leaves behind; one that cannot be written stops no other."""
    from mixopt.report import report_data, write_report

    paths = []
    for name in job.file.exports:
        try:
            paths += _export(job, recommendation, [name])
        except ExportError as error:
            _say(f"not exported for {name}: {error}")
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
        _say(f"no path is known for {', '.join(unknown)}: data/NAME stands in for it")
    return [
        path
        for name in names
        for path in write(
            recommendation.schedule,
            job.space,
            to=name,
            out=job.out,
            tokens=(job.space.target or job.file.fidelity).tokens,
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


def _present(job: Job, recommendation: Any, json: bool) -> None:
    from mixopt.report.tables import as_json, recommendation_table

    if json:
        print(as_json(recommendation))
    else:
        _print(recommendation_table(recommendation, job.space))


def _pairs(parts: Sequence[str], where: str) -> dict[str, str]:
    split = [part.partition("=") for part in parts]
    for part, (name, _, value) in zip(parts, split, strict=True):
        if not name or not value:
            raise MixoptError(
                f"{where} takes NAME=VALUE; got {part!r}", f"write {where} web=/data/web"
            )
    return {name: value for name, _, value in split}


def _show(table: Any, value: Any, json: bool) -> None:
    from dataclasses import asdict

    if json:
        print(jsonlib.dumps(asdict(value)))
    else:
        _print(table)


def _print(renderable: Any) -> None:
    from rich.console import Console

    console = Console()
    # A pipe has no width of its own; 80 columns would cut the tables.
    (console if console.is_terminal else Console(width=120)).print(renderable)


def _lines(value: dict[str, Any]) -> str:
    return "\n".join(f"{key}: {_short(v)}" for key, v in value.items())


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_short(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_short(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: an error of the user's is one sentence and a hint, exit code 1."""
    try:
        app(argv)
    except MixoptError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
