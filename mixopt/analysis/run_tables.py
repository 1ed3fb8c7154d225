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
#: Columns that say how large and how long a run was.
PLACES = ("parameters", "tokens")
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
        parameters: ``n`` non-embedding parameters, where a file has a column of that name.
        tokens: ``n`` training tokens, likewise; a run may then have several rows, its checkpoints.
    """

    ids: tuple[str, ...]
    domains: tuple[str, ...]
    X: Array
    metrics: tuple[str, ...]
    Y: Array
    parameters: Array | None = None
    tokens: Array | None = None

    @property
    def run(self) -> NDArray[np.int64]:
        """``n`` numbers of the runs; checkpoints of one run share it."""
        return np.unique(self.ids, return_inverse=True)[1].ravel().astype(np.int64)


def read_runs(ratios: str | Path, metrics: str | Path) -> RunTable:
    """Join weights and metrics on their common key column.

    The key is the first column of the ratios file, which the metrics file must have too. What all
    columns of a file share at both ends (``train_``, ``_val_loss``) is left off their names. Rows
    that sum to 1 within 1 % are divided by their sum.

    Args:
        ratios: One row per run: key, then one weight per domain.
        metrics: One row per run: key, then one value per metric; with a column ``tokens``, one row
            per checkpoint. Either file may hold the columns ``parameters`` and ``tokens``.

    Raises:
        StudyError: If a file cannot be read, keys do not match or repeat, a value is missing or
            not a number, or a row of weights does not sum to 1.
    """
    left, right = CsvTable.read(ratios), CsvTable.read(metrics)
    key = left.header[0]
    _check_keys(left, right, key)
    ids, domains, weights = _mixtures(left)
    # A run may have several rows of metrics, its checkpoints: its mixture stands with each.
    rows: dict[str, list[int]] = {run: [] for run in ids}
    for i, run in enumerate(right.texts(key)):
        rows[run].append(i)
    order = [i for run in ids for i in rows[run]]
    each = [i for i, run in enumerate(ids) for _ in rows[run]]
    names = [c for c in right.header if c not in (key, *PLACES)]
    values = right.numbers(names, key)[order]
    places = [_place(name, (right, order), (left, each), key=key) for name in PLACES]
    runs = tuple(ids[i] for i in each)
    return RunTable(runs, domains, weights[each], _short(names), values, *places)


def read_mixtures(path: str | Path) -> tuple[tuple[str, ...], tuple[str, ...], Array]:
    """Keys, domains and weights ``n x d`` of a file of mixtures alone.

    Raises:
        StudyError: As :func:`read_runs`.
    """
    return _mixtures(CsvTable.read(path))


def _mixtures(table: CsvTable) -> tuple[tuple[str, ...], tuple[str, ...], Array]:
    key = table.header[0]
    ids, domains = table.texts(key), [c for c in table.header if c not in (key, *PLACES)]
    return ids, _short(domains), _to_simplex(table.numbers(domains, key), ids, table.path)


def _place(name: str, *tables: tuple[CsvTable, list[int]], key: str) -> Array | None:
    """A column of sizes or lengths from the first file that has it, one value per row joined."""
    for table, rows in tables:
        if name in table.header:
            values: Array = table.numbers((name,), key)[rows, 0]
            if (values <= 0).any():
                raise StudyError(
                    f"{table.path}: {name} must be positive; got {values.min():g}",
                    "write non-embedding parameters and training tokens in full, as 1e9",
                )
            return values
    return None


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
        rungs = table is right and "tokens" in table.header
        one = list(zip(names, table.texts("tokens"), strict=True) if rungs else names)
        if len(set(one)) < len(one):
            twice = next(n for n, o in zip(names, one, strict=True) if one.count(o) > 1)
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
            f"{ROW_SUM_TOLERANCE:g}; they sum to {sums[worst]:.4g}{_unit_of(sums)}",
            "give shares of training tokens",
        )
    if (weights < 0).any():
        row = int(np.argwhere(weights < 0)[0][0])
        raise StudyError(
            f"{path}, run {ids[row]}: weights must be at least 0; got {weights[row].min():g}",
            "give shares of training tokens",
        )
    return np.asarray(weights / sums[:, None])


def _unit_of(sums: Array) -> str:
    """What the weights of rows with these sums look like, where they look like something else."""
    if (np.abs(sums - 100.0) <= 100.0 * ROW_SUM_TOLERANCE).all():
        return ", and all rows to 100: they look like percent"
    return ", and all rows to more than 1000: they look like counts" if (sums > 1e3).all() else ""


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
