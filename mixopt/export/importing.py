"""What the readers of trainers' configurations share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from mixopt.errors import ExportError
from mixopt.export.exporter import ImportedPhase
from mixopt.space import Mixture


def read_yaml(path: Path) -> Any:
    """A YAML or JSON file as plain data.

    Raises:
        ExportError: If it cannot be read.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ExportError(f"{path} cannot be read: {reason}", "check the path") from None


def weighted(
    amounts: Mapping[str, float],
    path: Path,
    length: int | None = None,
    paths: Mapping[str, str] | None = None,
) -> ImportedPhase:
    """One phase; weights of any sum are shares of it."""
    plain = {str(name): float(amount) for name, amount in amounts.items()}
    return ImportedPhase(Mixture.normalized(plain, str(path)), length, paths or {})


def lengths(starts: Sequence[int], end: int | None) -> list[int | None]:
    """How long phases are that start at these places; the last is not known without an end."""
    known: list[int | None] = [b - a for a, b in pairwise(starts)]
    return [*known, None if end is None else end - starts[-1]]
