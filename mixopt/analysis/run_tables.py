"""Finished runs from two CSV files: the mixtures, and what was measured on them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixopt.analysis.csv_table import CsvTable
from mixopt.errors import StudyError

Array = NDArray[np.float64]

ROW_SUM_TOLERANCE = 0.01
BORDERS = "_/. -"


@dataclass(frozen=True)
class RunTable:
    """Finished one-phase runs.

    Attributes:
        ids: ``n`` run names.
        domains: ``d`` names.
        X: Weights ``n x d``; rows sum to 1.
        metrics: ``m`` names.
        Y: Values ``n x m``.
    """

    ids: tuple[str, ...]
    domains: tuple[str, ...]
    X: Array
    metrics: tuple[str, ...]
    Y: Array


def read_runs(ratios: str | Path, metrics: str | Path) -> RunTable:
    """Join weights and metrics on their common key column.

    The key is the first column of the ratios file, which the metrics file must have too. What all
    columns of a file share at both ends (``train_``, ``_val_loss``) is left off their names. Rows
    that sum to 1 within 1 % are divided by their sum.

    Args:
        ratios: One row per run: key, then one weight per domain.
        metrics: One row per run: key, then one value per metric.

    Raises:
        StudyError: If a file cannot be read, keys do not match or repeat, a value is missing or
            not a number, or a row of weights does not sum to 1.
    """
    left, right = CsvTable.read(ratios), CsvTable.read(metrics)
    key = left.header[0]
    _check_keys(left, right, key)
    domains = [c for c in left.header if c != key]
    names = [c for c in right.header if c != key]
    ids = left.texts(key)
    X = _to_simplex(left.numbers(domains, key), ids, ratios)
    row = {run: i for i, run in enumerate(right.texts(key))}
    values = right.numbers(names, key)[[row[run] for run in ids]]
    return RunTable(ids, _short(domains), X, _short(names), values)


def _check_keys(left: CsvTable, right: CsvTable, key: str) -> None:
    if key not in right.header:
        bare = all(not v.isdigit() and 0 <= _share(v) <= 1 for v in left.texts(key))
        raise StudyError(
            f"{right.path} must have the key column {key!r} of {left.path}; it has "
            f"{list(right.header)}",
            f"{left.path} has no key column: {key!r} holds weights. Put a run's name or number "
            "first in both files"
            if bare
            else "give both files the same first column, a run's name or number",
        )
    for table in (left, right):
        names = table.texts(key)
        if len(set(names)) < len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise StudyError(f"{table.path} holds the run {twice} twice", "keep one row a run")
    missing = sorted(set(left.texts(key)) ^ set(right.texts(key)))
    if missing:
        raise StudyError(
            f"{left.path} and {right.path} must hold the same runs; {len(missing)} stand in one "
            f"only, {missing[0]} among them",
            "leave out what is not in both",
        )


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0


def _to_simplex(weights: Array, ids: tuple[str, ...], path: str | Path) -> Array:
    sums = weights.sum(1)
    off = np.abs(sums - 1)
    worst = int(np.argmax(off))
    if off[worst] > ROW_SUM_TOLERANCE:
        raise StudyError(
            f"{path}, run {ids[worst]}: weights must sum to 1 within "
            f"{ROW_SUM_TOLERANCE:g}; they sum to {sums[worst]:.4g}",
            "these are percent: divide them by 100"
            if abs(sums[worst] - 100) <= 100 * ROW_SUM_TOLERANCE
            else "give shares of training tokens",
        )
    if (weights < 0).any():
        row = int(np.argwhere(weights < 0)[0][0])
        raise StudyError(
            f"{path}, run {ids[row]}: weights must be at least 0; got {weights[row].min():g}",
            "give shares of training tokens",
        )
    return np.asarray(weights / sums[:, None])


def _short(names: list[str]) -> tuple[str, ...]:
    """Leave off what all names share at both ends, at word borders."""
    if len(names) < 2:
        return tuple(names)
    head = _common_start(names)
    head = head[: max(head.rfind(c) for c in BORDERS) + 1]
    tail = _common_start([n[::-1] for n in names])[::-1]
    tail = tail[min((i for c in BORDERS if (i := tail.find(c)) >= 0), default=len(tail)) :]
    short = [n[len(head) : len(n) - len(tail)] for n in names]
    return tuple(short if all(short) and len(set(short)) == len(short) else names)


def _common_start(names: list[str]) -> str:
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same)
