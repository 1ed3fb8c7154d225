"""A CSV file of runs as text, with errors that name its line, run and column."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import StudyError

#: What other programs put between the columns, and what it is called.
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class CsvTable:
    """A table of two columns and one row at least.

    Attributes:
        path: Of the file.
        header: The columns' names, each once.
        rows: One text per column.
    """

    path: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @classmethod
    def read(cls, path: str | Path) -> CsvTable:
        """Read a file with one header line.

        Raises:
            StudyError: If it cannot be read, is separated by something else than commas, has no
                row, a line of another length, or a column without a name or with another's.
        """
        lines = _lines(path)
        header = tuple(name.strip() for name in lines[0]) if lines else ()
        _check_header(header, path)
        for number, line in enumerate(lines[1:], start=2):
            if line and len(line) != len(header):
                raise StudyError(
                    f"{path}, line {number}: every line must have the {len(header)} columns of the "
                    f"first; it has {len(line)}",
                    "write decimals with a point, and text that holds a comma in quotes",
                )
        rows = tuple(tuple(v.strip() for v in line) for line in lines[1:] if line)
        if not rows:
            raise StudyError(f"{path} must have at least one row", "write one row per run")
        return cls(str(path), header, rows)

    def texts(self, column: str) -> tuple[str, ...]:
        """A column as it is written."""
        at = self.header.index(column)
        return tuple(row[at] for row in self.rows)

    def numbers(self, columns: Sequence[str], key: str | None = None) -> NDArray[np.float64]:
        """Columns as numbers, ``n x len(columns)``.

        Args:
            columns: Their names.
            key: The column that names a run; None to name the row instead.

        Raises:
            StudyError: If one holds something else; names the run and the column.
        """
        out = np.empty((len(self.rows), len(columns)))
        names = self.texts(key) if key is not None else [str(i + 1) for i in range(len(self.rows))]
        for j, column in enumerate(columns):
            for i, text in enumerate(self.texts(column)):
                out[i, j] = _number(text)
                if not np.isfinite(out[i, j]):
                    raise self._not_a_number(names[i], column, text)
        return out

    def _not_a_number(self, run: str, column: str, text: str) -> StudyError:
        hint = "leave the run out of every file, or mend it"
        if text.endswith("%"):
            hint = "write a share: 0.12 for 12%"
        elif text in ("", "-", "–") or text.lower() in ("n/a", "na", "nan", "null", "none"):
            hint = "the value is missing: leave the run out of every file"
        return StudyError(
            f"{self.path}, run {run}: {column} must be a finite number; got {text!r}", hint
        )


def _lines(path: str | Path) -> list[list[str]]:
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            return list(csv.reader(file, strict=True))
    except OSError as error:
        reason = error.strerror or str(error)
        raise StudyError(f"{path} cannot be read as CSV: {reason}", "check the path") from None
    except UnicodeDecodeError:
        raise StudyError(
            f"{path} cannot be read as CSV: it is not UTF-8 text",
            "save it as CSV (UTF-8), not as a spreadsheet",
        ) from None
    except csv.Error as error:
        raise StudyError(
            f"{path} cannot be read as CSV: {error}", "close every quote in the file"
        ) from None


def _check_header(header: Sequence[str], path: str | Path) -> None:
    for sign, name in SEPARATORS.items():
        if len(header) == 1 and sign in header[0]:
            raise StudyError(
                f"the columns of {path} must be separated by commas; they are by {name}",
                "save it as CSV with commas, and decimals with a point",
            )
    if len(header) < 2:
        raise StudyError(
            f"{path} must have a key column and at least one more; its first line has "
            f"{len(header)}",
            "begin with a line of names, such as run,web,code",
        )
    for name in header:
        if not name or header.count(name) > 1:
            what = f"{name!r} stands twice" if name else "one has none"
            raise StudyError(
                f"every column of {path} needs a name of its own; {what}",
                "name each column once in the first line",
            )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
