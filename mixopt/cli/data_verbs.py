"""Verbs about what goes in: fit, corpus, space."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from math import log
from pathlib import Path
from typing import Literal

from mixopt.cli.app import (
    HERE,
    Json,
    Names,
    StudyPath,
    Where,
    app,
    corpus_app,
    emit,
    pairs,
    say,
    space_app,
    writing,
)
from mixopt.cli.service_verbs import Secret


@app.command
def fit(
    runs: Path,
    metrics: Path | None = None,
    /,
    *,
    objective: Names,
    domains: str | None = None,
    space: Path | None = None,
    baseline: str | None = None,
    kind: Names | None = None,
    guardrail: Names | None = None,
    scale: Literal["baseline"] | None = None,
    target: str | None = None,
    rate: str | None = None,
    laws: Names | None = None,
    candidates: Path | None = None,
    out: Path | None = None,
    to: Names | None = None,
    sequence_length: int | None = None,
    batch: int | None = None,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Recommend a mixture from finished runs, without training anything.

    Args:
        runs: CSV of weights: a key column, then one per domain (base.web, ending.web and fraction
            in two phases). May hold the metrics too.
        metrics: CSV of metrics with the same key: one column each, or metric and value; with a
            column tokens, a run may have several rows. Columns parameters and tokens may stand in
            either file.
        objective: NAME=WEIGHT, once per metric, or the metric's name alone for all the weight.
        domains: Columns of the weights, as web,code; by default those that sum to 1.
        space: YAML of the search space (bounds, caps, baseline); the whole simplex by default.
        baseline: Mixture to compare with, as a=0.2,b=0.8; the mean of the runs by default.
        kind: NAME=accuracy:1319 (of so many questions), or NAME=perplexity, bits_per_byte,
            identity or identity:maximize; a metric not named is a loss to minimise.
        guardrail: NAME=SLACK, how much worse than the baseline a metric may be; or NAME<=BOUND,
            NAME>=BOUND.
        scale: baseline to divide each weight by the baseline's value of its metric.
        target: Size and length to predict, as 1B:100B, from runs of other sizes and lengths.
        rate: Learning-rate rule of runs read in the middle, as
            cosine:horizon=100B,warmup=0.02,final=0.1; without it the interval is wider.
        laws: Mixing laws in the surrogate: M4, "effective data", "shared law"; all by default.
        candidates: CSV of a key column and one weight per domain: predict these mixtures instead.
        out: Folder to write schedule.json, exports, report.html and candidates.csv into.
        to: Trainers to write the schedule for, with --out.
        sequence_length: The target's tokens per sequence, which some trainers count in.
        batch: The target's sequences per step, likewise.
        seed: Of every random draw.
    """
    from mixopt.analysis.fit_arguments import parse_guardrails, parse_kinds
    from mixopt.analysis.from_tables import fit as fit_runs
    from mixopt.export import exporter_of
    from mixopt.report.terminal import candidates_table, recommendation_table

    for trainer in to or ():
        # Before a fit that may take long.
        exporter_of(trainer)
    fitted = fit_runs(
        runs,
        metrics,
        objective=objective,
        domains=domains.split(",") if domains else None,
        space=space,
        baseline=baseline,
        kinds=parse_kinds(kind or ()),
        guardrails=parse_guardrails(guardrail or ()),
        scale=scale,
        target=target,
        rate=rate,
        laws=laws,
        seed=seed,
    )
    if candidates is not None:
        predicted = fitted.predict(candidates)
        emit(predicted.to_dict("records"), json, candidates_table(predicted))
    else:
        shown = recommendation_table(fitted.recommendation, fitted.space)
        emit(fitted.recommendation, json, shown)
    if out is not None:
        from mixopt.report import write_fit

        with writing(out) as folder:
            counts = {"sequence_length": sequence_length, "batch": batch}
            for path in write_fit(fitted, folder, to=to or (), **counts):
                say(f"wrote {path}")
            if candidates is not None:
                predicted.to_csv(folder / "candidates.csv", index=False)


@app.command(name="import")
def import_runs(
    study: StudyPath,
    runs: str,
    metrics: Path | None = None,
    /,
    *,
    optuna_study: str | None = None,
    domain: Names | None = None,
    metric: Names | None = None,
    unit: Names | None = None,
    normalise: bool = False,
    server: str | None = None,
    token: Secret = None,
    at: Where = HERE,
) -> None:
    """Attach finished runs to a study, which learns from them; nothing is trained.

    Args:
        study: YAML file of the study, or the folder of an earlier run; with --server, the name of
            a served study.
        runs: CSV or Parquet file of weights and metrics, also as exported from W&B or MLflow; with
            --optuna-study, the URL of an Optuna storage.
        metrics: CSV of metrics with the same key, where they are not in the first file.
        optuna_study: Name of the study in the Optuna storage.
        domain: NAME=COLUMN, where a domain's weights have another name than the domain.
        metric: NAME=COLUMN, where a metric has another name than in the study.
        unit: METRIC=loss, bits, perplexity, accuracy or percent; needed where names and values do
            not say that a metric is a loss in nats per token.
        normalise: Divide each run's weights by their sum.
        server: URL of a service that has the study.
        token: Of scope work.
    """
    from mixopt.analysis.imported_runs import import_runs as attach_all

    attach = partial(
        attach_all,
        runs=runs,
        metrics=metrics,
        optuna_study=optuna_study,
        domain_columns=pairs(domain or (), "--domain"),
        metric_columns=pairs(metric or (), "--metric"),
        units=pairs(unit or (), "--unit"),
        normalise=normalise,
    )
    if server is not None:
        from mixopt.service.client import connect

        done = attach(connect(server, token).study(str(study)))
    else:
        job = at.job(study)
        job.check()
        # A refusal comes before the study is made.
        attach(job.draft(job.build(say)))
        done = attach(job.prepare(say))
    if done.unfinished:
        say(f"left out {done.unfinished} runs that did not end well")
    for line in done.left_out:
        say(line)
    there = len(done.trials) - done.new
    emit(done, at.json, f"attached {done.new} runs" + f"; {there} were there already" * bool(there))


@corpus_app.command(name="build")
def corpus_build(spec: str, /, *, out: Path) -> None:
    """Build a corpus.

    Args:
        spec: YAML file, or the name of a shipped spec.
        out: Folder to make.
    """
    from mixopt.corpus import CorpusSpec, build_corpus
    from mixopt.space.library import find_corpus_spec

    corpus = build_corpus(CorpusSpec.from_yaml(find_corpus_spec(spec)), out, progress=say)
    for domain in corpus.domains:
        found, count = corpus.bytes_per_token(domain, "validation"), corpus.count(domain, "train")
        bits = f"\t1 nat/token is {1 / (log(2) * found):.3f} bits/byte" if found else ""
        print(f"{domain}\t{count} training tokens{bits}")


@corpus_app.command(name="count")
def corpus_count(spec: str, /, *, json: Json = False) -> None:
    """Count the tokens of a corpus of token files by their metadata, without building it.

    Args:
        spec: YAML file, or the name of a shipped spec.
    """
    from mixopt.corpus import CorpusSpec, metadata_tokens
    from mixopt.space.library import find_corpus_spec

    found = metadata_tokens(CorpusSpec.from_yaml(find_corpus_spec(spec)))
    emit(found, json, *(f"{name}\t{count} tokens" for name, count in found.items()))


@space_app.command(name="check")
def space_check(space: str, /, *, json: Json = False) -> None:
    """Check a search space: which fractions are feasible, and which caps bind or clash.

    Args:
        space: YAML file, or the name of a shipped space.
    """
    from mixopt.report.space_tables import space_lines, space_table
    from mixopt.space import SearchSpace, geometry_of
    from mixopt.space.library import find_search_space

    read = SearchSpace.from_yaml(find_search_space(space))
    checked = geometry_of(read).summary()
    emit(checked, json, "\n".join(space_lines(read, checked)), space_table(read, checked))


@space_app.command(name="list")
def space_list() -> None:
    """List the search spaces that come with mixopt."""
    from mixopt.space.library import list_search_spaces

    print("\n".join(list_search_spaces()))


@app.command
def init(
    study: Path = Path("study.yaml"),
    /,
    *,
    domain: list[str],
    command: str | None = None,
    parameters: str = "100k",
    tokens: str = "200k",
) -> None:
    """Write a commented study file that runs as it is, on text files or with a trainer of yours.

    Args:
        study: File to write; one that is there stays.
        domain: NAME=PATTERN of text files, once per domain; NAME=any with a command.
        command: Your trainer, such as "python train.py {schedule} {out}"; else small models here.
        parameters: Non-embedding parameters of a trial.
        tokens: Training tokens of a trial.
    """
    from mixopt.errors import StudyError
    from mixopt.tune.new_study import new_study

    if study.exists():
        raise StudyError(f"{study} is there already", "name another file, or move it away")
    name = study.resolve().stem if study.stem != "study" else study.resolve().parent.name
    study.write_text(
        new_study(name, pairs(domain, "--domain"), command, parameters=parameters, tokens=tokens),
        encoding="utf-8",
    )
    print(f"wrote {study}\nnext: mixopt run {study} --dry-run, then mixopt run {study}")


@app.command
def doctor(*, json: Json = False) -> None:
    """Say what this machine can do: devices, Ray, databases, trainers' libraries."""
    from mixopt.report.components import Table
    from mixopt.tune.doctor import examine

    found = examine()
    rows = tuple((f.what, "yes" if f.found else "no", f.says) for f in found)
    table = Table("This machine", ("what", "found", "says"), rows, text=frozenset({1, 2}))
    emit([asdict(f) for f in found], json, table)
