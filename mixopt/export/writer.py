"""Writing the files of one trainer and its report, all or none."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mixopt.errors import ExportError
from mixopt.export.export_plan import ExportPlan, Provenance, plan_export
from mixopt.export.export_report import export_report, report_page
from mixopt.export.export_request import ExportRequest
from mixopt.export.rate_plan import TrialRate
from mixopt.export.registry import exporter_of
from mixopt.export.schedule_source import ScheduleSource, read_source
from mixopt.export.texts import json_text
from mixopt.space import Schedule, SearchSpace

# Endings of files in which a line that starts with # is a comment.
COMMENTED = (".yaml", ".yml", ".py", ".sh")


def export_files(plan: ExportPlan, to: str, *, placeholders: bool = False) -> dict[str, str]:
    """The files of one trainer and its report as name to text, written nowhere.

    Args:
        plan: What to write.
        to: The trainer's name or alias.
        placeholders: Whether ``PATH_OF_<domain>`` stands in for a path that is not known.

    Raises:
        ExportError: If there is no exporter of that name, or the plan lacks what it needs.
    """
    exporter = exporter_of(to)
    plan = exporter.ready(plan.with_placeholders() if placeholders else plan)
    written = exporter.write(plan)
    report = export_report(plan, exporter, written)
    name = exporter.name
    note = plan.provenance.note
    return {
        **{file: _noted(file, text, note) for file, text in written.files.items()},
        f"{name}_report.json": json_text(report),
        f"{name}_report.md": report_page(report),
    }


def _noted(name: str, text: str, note: str | None) -> str:
    """A file with the note on its schedule, in a format that has comments."""
    if note is None or Path(name).suffix not in COMMENTED:
        return text
    return "".join(f"# {line}\n" for line in note.splitlines()) + text


def export(
    schedule: Schedule,
    space: SearchSpace | None = None,
    *,
    to: str,
    out: str | Path,
    supply: Mapping[str, int | None] | None = None,
    provenance: Provenance | None = None,
    of_trials: Iterable[TrialRate] = (),
    **options: Any,
) -> list[Path]:
    """Write the files that one trainer loads, with a report per phase.

    Args:
        schedule: What to train on.
        space: Gives paths, supplies, epoch caps and the target's tokens where they are not given.
        to: The trainer, one of ``EXPORTERS``, an alias, or an exporter of another package.
        out: Folder to write into; made if missing.
        supply: Domain to tokens available.
        provenance: Where the schedule comes from.
        of_trials: Numbers of the schedule's learning rates that are not the target's.
        options: The other fields of ``ExportRequest``: ``tokens``, ``sequence_length``, ``batch``,
            ``seed``, ``paths``, ``learning_rate``, ``placeholders``, ``tokenizer``.

    Returns:
        The files written.

    Raises:
        ExportError: If the trainer is unknown, something it needs is missing, a phase is too
            short, or a domain would be read more often than its epoch cap.
    """
    source = ScheduleSource(
        schedule, space, supply=supply or {}, provenance=provenance, of_trials=tuple(of_trials)
    )
    return export_source(source, ExportRequest(to=exporter_of(to).name, **options), out)


def export_source(source: ScheduleSource, request: ExportRequest, out: str | Path) -> list[Path]:
    """Write what a request asks for.

    Args:
        source: A schedule with what is known of its run.
        request: What the user asks for, over what the source says.
        out: Folder to write into.

    Returns:
        The files written.

    Raises:
        ExportError: As ``export``, or if the target's tokenizer is not the study's.
    """
    if source.provenance is not None:
        request.require_same_tokenizer(source.provenance)
    asked = request.over(
        tokens=source.tokens,
        sequence_length=source.sequence_length,
        seed=source.seed,
        paths=source.paths,
    )
    plan = plan_export(
        source.schedule,
        source.space,
        tokens=asked.tokens,
        paths=asked.paths,
        supply=source.supply,
        sequence_length=asked.sequence_length,
        batch=asked.batch,
        target=source.target,
        seed=asked.seed or 0,
        provenance=source.provenance,
        learning_rate=asked.learning_rate,
        of_trials=source.of_trials,
    )
    files = export_files(plan, asked.to, placeholders=asked.placeholders)
    return write_files(files, Path(out))


def export_file(path: str | Path, *, to: str, out: str | Path, **options: Any) -> list[Path]:
    """Write the files of a trainer from a ``schedule.json`` or a schedule written by hand.

    Args:
        path: The schedule; gives tokens, supplies, and what is not given here.
        to: The trainer.
        out: Folder to write into.
        options: The other fields of ``ExportRequest``.

    Returns:
        The files written.

    Raises:
        ExportError: If the file is not a schedule, or the trainer lacks something.
    """
    return export_source(read_source(path), ExportRequest(to=to, **options), out)


def write_files(files: Mapping[str, str], out: Path) -> list[Path]:
    """Write texts into a folder so that none is ever half there.

    Raises:
        ExportError: If the folder or a file cannot be written.
    """
    staged = {out / name: out / f".{name}.{os.getpid()}" for name in files}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for temporary, text in zip(staged.values(), files.values(), strict=True):
            temporary.write_text(text, encoding="utf-8")
        for path, temporary in staged.items():
            os.replace(temporary, path)
    except OSError as error:
        for temporary in staged.values():
            # The folder itself may be what is missing, so ask before removing.
            if temporary.exists():
                temporary.unlink()
        raise ExportError(
            f"the files cannot be written to {out}: {error.strerror or error}",
            "give another folder",
        ) from None
    return list(staged)
