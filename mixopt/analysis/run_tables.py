"""Finished runs from two CSV files: the mixtures, and what was measured on them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
    left, right = read_csv(ratios), read_csv(metrics)
    key = str(left.columns[0])
    if key not in right.columns:
        raise StudyError(
            f"{metrics} must have the key column {key!r} of {ratios}; it has {list(right.columns)}",
            "give both files the same first column, a run's name or number",
        )
    _check_keys(left, right, key, ratios, metrics)
    right = right.set_index(key).loc[left[key]].reset_index()
    left = left.set_index(key).loc[right[key]].reset_index()
    places = [_place(name, left, right, key, (ratios, metrics)) for name in PLACES]
    taken = [key, *PLACES]
    domains, weights = _numbers(left.drop(columns=taken, errors="ignore"), left[key], ratios)
    names, values = _numbers(right.drop(columns=taken, errors="ignore"), left[key], metrics)
    X = _to_simplex(weights, left[key], ratios)
    ids = tuple(str(v) for v in left[key])
    return RunTable(ids, _short(domains), X, _short(names), values, *places)


def read_mixtures(path: str | Path) -> tuple[tuple[str, ...], tuple[str, ...], Array]:
    """Keys, domains and weights ``n x d`` of a file of mixtures alone.

    Raises:
        StudyError: As :func:`read_runs`.
    """
    table = read_csv(path)
    key = str(table.columns[0])
    domains, weights = _numbers(table.drop(columns=key), table[key], path)
    ids = tuple(str(v) for v in table[key])
    return ids, _short(domains), _to_simplex(weights, table[key], path)


def _place(
    name: str, left: pd.DataFrame, right: pd.DataFrame, key: str, paths: tuple[str | Path, ...]
) -> Array | None:
    """A column of sizes or lengths from whichever file has it."""
    for table, path in zip((right, left), paths[::-1], strict=True):
        if name in table.columns:
            values = _numbers(table[[name]], table[key], path)[1][:, 0]
            if (values <= 0).any():
                raise StudyError(
                    f"{path}: {name} must be positive; got {values.min():g}",
                    "write non-embedding parameters and training tokens in full, as 1e9",
                )
            return values
    return None


def read_csv(path: str | Path) -> pd.DataFrame:
    """Read a table of two columns and one row at least.

    Raises:
        StudyError: If it cannot be read, or is smaller.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read as CSV: {error}", "check the path") from None
    if table.shape[1] < 2 or table.empty:
        raise StudyError(
            f"{path} must have a key column, at least one more, and at least one row; it has "
            f"{table.shape[1]} columns and {len(table)} rows",
            "write one row per run",
        )
    return table


def _check_keys(
    left: pd.DataFrame, right: pd.DataFrame, key: str, ratios: str | Path, metrics: str | Path
) -> None:
    for table, path in ((left, ratios), (right, metrics)):
        rungs = [key, "tokens"] if table is right and "tokens" in table.columns else [key]
        twice = table[key][table.duplicated(rungs)]
        if len(twice):
            raise StudyError(f"{path} holds the run {twice.iloc[0]!s} twice", "keep one row a run")
    missing = sorted(set(left[key]) ^ set(right[key]), key=str)
    if missing:
        raise StudyError(
            f"{ratios} and {metrics} must hold the same runs; {len(missing)} stand in one only, "
            f"{missing[0]!s} among them",
            "leave out what is not in both",
        )


def _numbers(table: pd.DataFrame, ids: pd.Series, path: str | Path) -> tuple[list[str], Array]:
    columns = [str(c) for c in table.columns]
    for column in table.columns:
        value = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=float)
        bad = np.flatnonzero(~np.isfinite(value))
        if len(bad):
            raise StudyError(
                f"{path}, run {ids.iloc[bad[0]]!s}: {column} must be a finite number; got "
                f"{table[column].iloc[bad[0]]!s}",
                "leave the run out of both files, or mend it",
            )
    return columns, table.to_numpy(dtype=float)


def _to_simplex(weights: Array, ids: pd.Series, path: str | Path) -> Array:
    sums = weights.sum(1)
    off = np.abs(sums - 1)
    worst = int(np.argmax(off))
    if off[worst] > ROW_SUM_TOLERANCE:
        raise StudyError(
            f"{path}, run {ids.iloc[worst]!s}: weights must sum to 1 within "
            f"{ROW_SUM_TOLERANCE:g}; they sum to {sums[worst]:.4g}{_unit_of(sums)}",
            "give shares of training tokens",
        )
    if (weights < 0).any():
        row = int(np.argwhere(weights < 0)[0][0])
        raise StudyError(
            f"{path}, run {ids.iloc[row]!s}: weights must be at least 0; got "
            f"{weights[row].min():g}",
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
