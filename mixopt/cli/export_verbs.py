"""The verb that writes schedules for trainers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from mixopt import __version__
from mixopt.cli.app import Amount, Json, Names, app, emit, pairs, say, space_app
from mixopt.errors import ExportError

if TYPE_CHECKING:
    from mixopt.export import Provenance, ScheduleSource
    from mixopt.export.rate_plan import TrialRate
    from mixopt.propose import Recommendation
    from mixopt.service.client import ServedStudy
    from mixopt.space import Schedule
    from mixopt.study import Study
    from mixopt.tune.job import Job


@app.command
def export(
    source: Path | None = None,
    /,
    *,
    to: str | None = None,
    out: Path | None = None,
    paths: Names | None = None,
    tokens: Amount | None = None,
    sequence_length: Amount | None = None,
    batch: Amount | None = None,
    seed: int | None = None,
    learning_rate: str | None = None,
    tokenizer: str | None = None,
    placeholders: bool = False,
    trial: str | None = None,
    storage: str | None = None,
    list_: Annotated[bool, Parameter(name="--list")] = False,
    json: Json = False,
) -> None:
    """Write a schedule for a trainer: the recommended one, a trial's, or one from a file.

    Args:
        source: Folder or YAML file of a study, a schedule.json, or a schedule written by hand.
        to: Name of the trainer.
        out: Folder of the files; by default that of the run or of the schedule.
        paths: YAML file of domain: path, or NAME=PATH, one or more.
        tokens: Training tokens of the target run.
        sequence_length: Tokens per sequence of the target.
        batch: Sequences per step of the target.
        seed: For the trainer's shuffling.
        learning_rate: The target's peak, or its rule as {peak: 3e-4, warmup: 0.01, decay: 0.2}.
        tokenizer: The target's tokenizer.json, to be refused where it is not the study's.
        placeholders: Write PATH_OF_<domain> for paths that are not known.
        trial: Id of a trial whose schedule is written instead of the recommended one.
        storage: Database URL of the study.
        list_: List the trainers, and with what each was loaded.
        json: Print the paths written, or the list, as JSON.
    """
    from mixopt.export import ExportRequest, export_source

    if list_:
        _list(json)
        return
    if source is None or to is None:
        raise ExportError(
            f"an export needs a schedule and --to; got {source} and {to}",
            "mixopt export runs/NAME --to megatron, or mixopt export --list",
        )
    request = ExportRequest(
        to=to,
        tokens=tokens,
        sequence_length=sequence_length,
        batch=batch,
        seed=seed,
        paths=_paths(paths or []),
        learning_rate=_rule(learning_rate),
        placeholders=placeholders,
        tokenizer=tokenizer,
    )
    found, folder = _found(source, trial, storage)
    written = list(map(str, export_source(found, request, out or folder)))
    emit(written, json, *written)


@space_app.command(name="import")
def space_import(
    config: Path, /, *, trainer: Annotated[str, Parameter(name="--from")], json: Json = False
) -> None:
    """Print a search space whose baseline is what a trainer's configuration trains on.

    Args:
        config: A blend, a mixture file or a training configuration.
        trainer: The trainer it belongs to.
    """
    import yaml

    from mixopt.corpus import count_megatron_tokens
    from mixopt.export import as_space

    found = as_space(trainer, config, count_megatron_tokens)
    emit(found, json, yaml.safe_dump(found, sort_keys=False).rstrip())


def _list(json: bool) -> None:
    from rich.table import Table

    from mixopt.export import exporters

    fields = ("name", "changes", "unit", "loaded")
    rows = [{name: getattr(e, name) for name in fields} for e in exporters().values()]
    table = Table("trainer", "phases by", "a weight counts", "loaded with")
    for row in rows:
        table.add_row(*row.values())
    emit(rows, json, table)


def _paths(given: Sequence[str]) -> dict[str, str]:
    """Domain to path from YAML files and NAME=PATH."""
    from mixopt.export.importing import read_yaml

    out: dict[str, str] = {}
    for part in given:
        if "=" in part:
            out |= pairs([part], "--paths")
            continue
        read = read_yaml(Path(part))
        if not isinstance(read, dict) or not all(isinstance(v, str) for v in read.values()):
            raise ExportError(
                f"{part} must map domains to paths", "write one line per domain, web: /data/web"
            )
        out |= read
    return out


def _rule(text: str | None) -> Any:
    """A peak or a rule, as the request reads it."""
    import yaml

    from mixopt.space.written_numbers import read_number

    if text is None:
        return None
    number = read_number(text)
    try:
        return yaml.safe_load(text) if number is None else number
    except (ValueError, RecursionError, yaml.YAMLError):
        raise ExportError(
            f"--learning-rate takes a peak or a rule; got {text!r}",
            "write 3e-4, or '{peak: 3e-4, warmup: 0.01, decay: 0.2}'",
        ) from None


def _found(source: Path, trial: str | None, storage: str | None) -> tuple[ScheduleSource, Path]:
    """The schedule to write, and where its files go by default."""
    from mixopt.export import read_source
    from mixopt.tune.job import Job

    if source.is_file() and (source.suffix == ".json" or _by_hand(source)):
        return read_source(source), source.parent
    job = Job.open(source, None, storage)
    study = job.existing_study()
    if trial is None:
        recommendation = study.recommend()
        return _of_study(job, study, recommendation.schedule, recommendation.verdict), job.out
    return _of_study(job, study, *_of_trial(study, trial)), job.out


def _by_hand(source: Path) -> bool:
    """Whether a YAML file is a schedule and not a study."""
    from mixopt.export.importing import read_yaml

    data = read_yaml(source)
    return isinstance(data, dict) and "phases" in data and "space" not in data


def _of_trial(study: Study, trial: str) -> tuple[Schedule, str]:
    state = study.state()
    record = state.record_of(trial)
    value = state.value_of(record)
    measured = "" if value is None else f", objective {value:.6g}"
    return record.trial.schedule, f"The schedule of trial {trial} ({record.state}{measured})."


def _of_study(
    job: Job, study: Study | ServedStudy, schedule: Schedule, note: str
) -> ScheduleSource:
    """A schedule of a study; what only its trials had is marked as theirs."""
    from mixopt.export import ScheduleSource

    space = study.space
    return ScheduleSource(
        schedule,
        space,
        tokens=(space.target or job.file.highest).tokens,
        sequence_length=job.file.sequence_length,
        seed=job.file.seed,
        provenance=_provenance(job, study, note),
        of_trials=_of_trials(job, study),
    )


def _of_trials(job: Job, study: Study | ServedStudy) -> tuple[TrialRate, ...]:
    """What of the learning rates is the proxy's: its peak, and a warm-up that was not searched."""
    space = study.space
    if space.target is None or space.target == job.file.highest:
        return ()
    searched = not isinstance(getattr(space.learning_rate, "warmup", 0.0), float)
    return ("peak",) if searched else ("peak", "warmup")


def _provenance(job: Job, study: Study | ServedStudy, note: str) -> Provenance:
    """Where the schedule comes from; the tokens' fingerprints only where the corpus is here."""
    from mixopt.export import Provenance

    corpus = job.built_corpus()
    return Provenance(
        study=study.name,
        space=study.space.name,
        mixopt=__version__,
        note=note,
        tokenizer=corpus.tokenizer_path.name if corpus and corpus.tokenizer_path else None,
        tokenizer_fingerprint=None if corpus is None else corpus.index.tokenizer_sha256,
        corpus_fingerprints={} if corpus is None else corpus.train_fingerprints(),
    )


def write_exports(
    job: Job, study: Study | ServedStudy, recommendation: Recommendation
) -> list[Path]:
    """What the study file asks for; a format that cannot be written stops no other."""
    from mixopt.export import export_source

    paths = []
    source = _of_study(job, study, recommendation.schedule, recommendation.verdict)
    for request in job.file.exports:
        try:
            paths += export_source(source, request, job.out)
        except ExportError as error:
            say(f"not exported for {request.to}: {error}")
    return paths
