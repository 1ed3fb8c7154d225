"""Writing the files of one trainer, all or none."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from mixopt.errors import ExportError
from mixopt.export import (
    huggingface,
    levanter,
    llm_foundry,
    maxtext,
    megatron,
    nanotron,
    olmo_core,
    schedule_file,
)
from mixopt.export.export_plan import ExportPlan, Provenance, plan_export
from mixopt.space import Schedule, SearchSpace

_FILES: Mapping[str, Callable[[ExportPlan], dict[str, str]]] = {
    "schedule": schedule_file.files,
    "megatron": megatron.files,
    "huggingface": huggingface.files,
    "olmo-core": olmo_core.files,
    "llm-foundry": llm_foundry.files,
    "levanter": levanter.files,
    "nanotron": nanotron.files,
    "maxtext": maxtext.files,
}

# Endings of files in which a line that starts with # is a comment.
_COMMENTED = (".yaml", ".yml", ".py", ".sh", ".gin", ".toml")

EXPORTERS: tuple[str, ...] = tuple(_FILES)


def export_files(plan: ExportPlan, to: str) -> dict[str, str]:
    """The files of one trainer as name to text, written nowhere.

    Raises:
        ExportError: If there is no exporter of that name, or the plan lacks what it needs.
    """
    if to not in _FILES:
        close = difflib.get_close_matches(to, EXPORTERS, n=1)
        raise ExportError(
            f"there is no exporter {to!r}; there are: {', '.join(EXPORTERS)}",
            f"did you mean {close[0]!r}?" if close else "give one of these names",
        )
    note = plan.provenance.note
    files = _FILES[to](plan)
    return {name: _noted(name, text, note) for name, text in files.items()} if note else files


def _noted(name: str, text: str, note: str) -> str:
    """A file with the note on its schedule, in a format that has comments."""
    if Path(name).suffix == ".md":
        return f"{text}\n{note}\n"
    if Path(name).suffix not in _COMMENTED:
        return text
    first, rest = text.split("\n", 1) if text.startswith("#!") else ("", text)
    lines = "".join(f"# {line}\n" for line in note.splitlines())
    return f"{first}\n{lines}{rest}" if first else lines + rest


def export(
    schedule: Schedule,
    space: SearchSpace | None = None,
    *,
    to: str,
    out: str | Path,
    tokens: int | None = None,
    paths: Mapping[str, str] | None = None,
    supply: Mapping[str, int | None] | None = None,
    sequence_length: int | None = None,
    batch: int | None = None,
    seed: int = 0,
    provenance: Provenance | None = None,
) -> list[Path]:
    """Write the files that one trainer loads, with the tokens, epochs and offsets per phase.

    Args:
        schedule: What to train on.
        space: Gives paths, supplies, epoch caps and the target's tokens where they are not given.
        to: The trainer, one of ``EXPORTERS``.
        out: Folder to write into; made if missing.
        tokens: Training tokens of the run; the target's by default.
        paths: Domain to path: a prefix for Megatron, a file, glob or Hub name for Hugging Face.
        supply: Domain to tokens available.
        sequence_length: Tokens per sequence; needed by trainers that count sequences.
        batch: Sequences per step, where known; phases then end on whole steps.
        seed: For the trainer's shuffling.
        provenance: Where the schedule comes from.

    Returns:
        The files written.

    Raises:
        ExportError: If the trainer is unknown, something it needs is missing, a phase is too
            short, or a domain would be read more often than its epoch cap.
    """
    plan = plan_export(
        schedule,
        space,
        tokens=tokens,
        paths=paths,
        supply=supply,
        sequence_length=sequence_length,
        batch=batch,
        seed=seed,
        provenance=provenance,
    )
    return write_files(export_files(plan, to), Path(out))


def export_file(
    path: str | Path,
    *,
    to: str,
    out: str | Path,
    paths: Mapping[str, str] | None = None,
    sequence_length: int | None = None,
    batch: int | None = None,
    seed: int = 0,
) -> list[Path]:
    """Write the files of a trainer from a ``schedule.json``.

    Args:
        path: The ``schedule.json``; gives tokens, supplies, and what is not given here.
        to: The trainer, one of ``EXPORTERS``.
        out: Folder to write into.
        paths: Domain to path, over those of the file.
        sequence_length: Tokens per sequence; the file's by default.
        batch: Sequences per step, where known.
        seed: For the trainer's shuffling.

    Returns:
        The files written.

    Raises:
        ExportError: If the file is not a schedule, or the trainer lacks something.
    """
    file = schedule_file.read_schedule_file(path)
    known = {name: d.path for name, d in file.domains.items() if d.path}
    plan = plan_export(
        schedule_file.read_schedule(path),
        tokens=file.tokens_requested,
        paths={**known, **(paths or {})},
        supply={name: d.available for name, d in file.domains.items()},
        sequence_length=sequence_length or file.sequence_length,
        batch=batch,
        target=file.target,
        seed=seed,
        provenance=file.as_provenance(),
    )
    return write_files(export_files(plan, to), Path(out))


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
            f"the files cannot be written to {out}: {error}", "give another folder"
        ) from None
    return list(staged)
