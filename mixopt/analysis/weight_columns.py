"""Which columns of a table are weights: one mixture per row, or one per phase."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from mixopt.analysis.csv_table import CsvTable
from mixopt.errors import StudyError

Array = NDArray[np.float64]

ROW_SUM_TOLERANCE = 0.01
#: The share of the tokens in the last of two phases.
FRACTION = "fraction"
BORDERS = "_/. -"
_PERCENT = 100.0


@dataclass(frozen=True)
class WeightColumns:
    """The columns of the weights.

    Attributes:
        domains: ``d`` names, without what all columns share.
        phases: ``P`` names; ``base`` where there is one.
        columns: ``P x d`` names as the table has them.
    """

    domains: tuple[str, ...]
    phases: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, table: CsvTable, columns: Sequence[str]) -> WeightColumns:
        """Sort columns into phases: ``PHASE.DOMAIN`` beside a column ``fraction``, else one phase.

        Raises:
            StudyError: If there are phases, but not two with the same domains.
        """
        if FRACTION not in table.header:
            return cls(short_names(columns), ("base",), (tuple(columns),))
        phases: dict[str, dict[str, str]] = {}
        for column in columns:
            phase, _, domain = column.partition(".")
            phases.setdefault(phase, {})[domain] = column
        names = list(phases)
        if len(names) != 2 or "" in {d for p in phases.values() for d in p}:
            raise StudyError(
                f"{table.path} has a column {FRACTION!r}, so every weight must be named "
                f"PHASE.DOMAIN, of two phases; it has {', '.join(columns)}",
                "write base.web,base.code,ending.web,ending.code,fraction",
            )
        differ = set(phases[names[0]]) ^ set(phases[names[1]])
        if differ:
            raise StudyError(
                f"{table.path}: both phases must have the same domains; {sorted(differ)} stand in "
                "one only",
                "write 0 for a domain that a phase does not use",
            )
        domains = tuple(phases[names[0]])
        return cls(
            domains, tuple(names), tuple(tuple(phases[n][d] for d in domains) for n in names)
        )

    def rows(self, table: CsvTable, key: str | None) -> Array:
        """Design rows ``n x D``: the weights of each phase, then the fractions of two.

        Raises:
            StudyError: If a weight is missing or no share, or a row does not sum to 1.
        """
        if len(self.phases) == 1:
            weights = table.numbers(self.columns[0], key)
            return to_simplex(weights, table.keys(key), table.path)
        last = _fractions(table, key)
        base, ending = self.columns
        first = to_simplex(table.numbers(base, key), table.keys(key), table.path)
        # An ending of no tokens may be left empty.
        given = table.numbers(ending, key, missing=True)
        empty = (last == 0) & ~(np.nansum(given, axis=1) > 0)
        second = np.where(empty[:, None], first, given)
        for row, column in np.argwhere(np.isnan(second)):
            raise table.not_a_number(table.keys(key)[row], ending[column], "")
        second = to_simplex(second, table.keys(key), table.path)
        return np.column_stack([first, second, 1.0 - last, last])


def _fractions(table: CsvTable, key: str | None) -> Array:
    values: Array = table.numbers((FRACTION,), key)[:, 0]
    off = np.flatnonzero((values < 0) | (values > 1))
    if len(off):
        percent = ": it looks like percent" if 1 < values.max() <= _PERCENT else ""
        raise StudyError(
            f"{table.path}, run {table.keys(key)[off[0]]}: {FRACTION} must lie between 0 and 1; "
            f"got {values[off[0]]:g}{percent}",
            "give the last phase's share of the training tokens",
        )
    return values


def find_weight_columns(table: CsvTable, others: Sequence[str]) -> list[str]:
    """The columns of a table that hold weights, where nobody has named them.

    They are neighbours, or have the beginning of their names in common, and sum to 1 (or to 100,
    which is refused later by its name) in every row.

    Args:
        table: Its columns in order.
        others: Columns that are something else.

    Raises:
        StudyError: If none or several groups of columns would do.
    """
    if FRACTION in table.header:
        return _of_phases([c for c in table.header if c not in others])
    numbers = dict(_numeric(table, others))
    found: list[tuple[str, ...]] = []
    for group in [*_neighbours(table, numbers), *_namesakes(numbers)]:
        for best in _summing(group, numbers):
            if not any(set(best) <= set(other) for other in found):
                found = [other for other in found if not set(other) <= set(best)] + [best]
    if len(found) != 1:
        which = "none do" if not found else f"{len(found)} groups do"
        raise StudyError(
            f"{table.path} must have columns of weights that sum to 1 in every row; {which} among "
            f"{', '.join(c for c in table.header if c not in others)}",
            "name them with --domains web,code (domains=[...] in Python), or give weights and "
            "metrics as two tables",
        )
    return list(found[0])


def _of_phases(columns: Sequence[str]) -> list[str]:
    """Columns named PHASE.DOMAIN whose domain stands in another phase too, and their neighbours."""
    parts = [(c, *c.partition(".")[::2]) for c in columns if "." in c]
    domains = Counter(domain for _, _, domain in parts)
    phases = {phase for _, phase, domain in parts if domains[domain] > 1}
    return [column for column, phase, _ in parts if phase in phases]


def _numeric(table: CsvTable, others: Sequence[str]) -> Iterator[tuple[str, Array]]:
    for column in table.header:
        if column not in others:
            try:
                values = table.numbers((column,))[:, 0]
            except StudyError:
                continue
            if (values >= 0).all():
                yield column, values


def _neighbours(table: CsvTable, numbers: dict[str, Array]) -> Iterator[list[str]]:
    group: list[str] = []
    for column in (*table.header, ""):
        if column in numbers:
            group.append(column)
        elif group:
            yield group
            group = []


def _namesakes(numbers: dict[str, Array]) -> Iterator[list[str]]:
    groups: dict[str, list[str]] = {}
    for column in numbers:
        end = min((i for c in BORDERS if (i := column.find(c)) > 0), default=0)
        groups.setdefault(column[:end], []).append(column)
    yield from (group for name, group in groups.items() if name)


def _summing(group: Sequence[str], numbers: dict[str, Array]) -> list[tuple[str, ...]]:
    """The longest stretches of two columns or more that sum to 1 or to 100."""
    sums = np.cumsum([np.zeros_like(numbers[group[0]]), *(numbers[c] for c in group)], axis=0)
    for length in range(len(group), 1, -1):
        totals = sums[length:] - sums[:-length]
        near = [(np.abs(totals - w) <= w * ROW_SUM_TOLERANCE).all(1) for w in (1.0, _PERCENT)]
        starts = np.flatnonzero(near[0] | near[1])
        if len(starts):
            return [tuple(group[i : i + length]) for i in map(int, starts)]
    return []


def to_simplex(weights: Array, ids: Sequence[str], path: str) -> Array:
    """Rows divided by their sums.

    Raises:
        StudyError: If a sum is not 1 within 1 %, or a weight is negative; names the run.
    """
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
    if (np.abs(sums - _PERCENT) <= _PERCENT * ROW_SUM_TOLERANCE).all():
        return ", and all rows to 100: they look like percent"
    return ", and all rows to more than 1000: they look like counts" if (sums > 1e3).all() else ""


def short_names(names: Sequence[str]) -> tuple[str, ...]:
    """Leave off what all names share at both ends, at word borders."""
    if len(names) < 2:
        return tuple(names)
    head = _common_start(names)
    head = head[: max(head.rfind(c) for c in BORDERS) + 1]
    tail = _common_start([n[::-1] for n in names])[::-1]
    tail = tail[min((i for c in BORDERS if (i := tail.find(c)) >= 0), default=len(tail)) :]
    short = [n[len(head) : len(n) - len(tail)] for n in names]
    return tuple(short if all(short) and len(set(short)) == len(short) else names)


def _common_start(names: Sequence[str]) -> str:
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same)
