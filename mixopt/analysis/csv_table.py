"""A table of runs as text, from a CSV file or a DataFrame; errors name its line, run and column."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import StudyError
from mixopt.space.complaints import shown

if TYPE_CHECKING:
    from pandas import DataFrame

#: A CSV file, also compressed by gzip, or a DataFrame.
Source: TypeAlias = "str | Path | DataFrame"

#: What other programs put between the columns, and what it is called.
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
MISSING = ("", "-", "–", "n/a", "na", "nan", "null", "none", "<na>")


@dataclass(frozen=True)
class CsvTable:
    """A table of two columns and one row at least.

    Attributes:
        path: Of the file; for a DataFrame, what to call it.
        header: The columns' names, each once.
        rows: One text per column.
    """

    path: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @classmethod
    def read(cls, source: Source, called: str = "the table of runs") -> CsvTable:
        """Read a file with one header line, or a DataFrame; an index with labels is its key.

        Args:
            source: What to read.
            called: What to call a DataFrame in an error.

        Raises:
            StudyError: If it cannot be read, is separated by something else than commas, has no
                row, a line of another length, or a column without a name or with another's.
        """
        if not isinstance(source, (str, Path)):
            return cls._of_frame(source, called)
        path = source
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

    @classmethod
    def _of_frame(cls, frame: DataFrame, called: str) -> CsvTable:
        from pandas import DataFrame
        from pandas.api.types import is_integer_dtype

        if not isinstance(frame, DataFrame):
            raise StudyError(
                f"{called} must be a path or a DataFrame; got {type(frame).__name__}",
                "make a DataFrame of it",
            )
        # Numbers without a name are what filtering leaves of an index that said nothing.
        if None not in frame.index.names or not is_integer_dtype(frame.index.dtype):
            names = [str(name or "run") for name in frame.index.names]
            drop = any(name in frame.columns for name in names)
            frame = frame.rename_axis(index=names).reset_index(drop=drop)
        header = tuple(str(name).strip() for name in frame.columns)
        _check_header(header, called)
        if frame.empty:
            raise StudyError(f"{called} must have at least one row", "write one row per run")
        columns = [map(str, frame.iloc[:, j].tolist()) for j in range(len(header))]
        return cls(called, header, tuple(zip(*columns, strict=True)))

    def texts(self, column: str) -> tuple[str, ...]:
        """A column as it is written."""
        at = self.header.index(column)
        return tuple(row[at] for row in self.rows)

    def keys(self, key: str | None) -> tuple[str, ...]:
        """The column that names a run, or the rows' numbers where there is none."""
        return self.texts(key) if key else tuple(str(i + 1) for i in range(len(self.rows)))

    def numbers(
        self, columns: Sequence[str], key: str | None = None, *, missing: bool = False
    ) -> NDArray[np.float64]:
        """Columns as numbers, ``n x len(columns)``.

        Args:
            columns: Their names.
            key: The column that names a run; None to name the row instead.
            missing: Whether a value may be missing; it is NaN then.

        Raises:
            StudyError: If one holds something else; names the run and the column.
        """
        out = np.empty((len(self.rows), len(columns)))
        for j, column in enumerate(columns):
            texts = self.texts(column)
            out[:, j] = [_number(text) for text in texts]
            for i in np.flatnonzero(~np.isfinite(out[:, j])):
                if not (missing and texts[i].lower() in MISSING):
                    raise self.not_a_number(self.keys(key)[i], column, texts[i])
        return out

    def not_a_number(self, run: str, column: str, text: str) -> StudyError:
        """What is wrong with a cell."""
        hint = "leave the run out of every file, or mend it"
        if text.endswith("%"):
            hint = "write a share: 0.12 for 12%"
        elif text.lower() in MISSING:
            hint = "the value is missing: leave the run out of every file"
        return StudyError(
            f"{self.path}, run {run}: {column} must be a finite number; got {shown(text)}", hint
        )


def _lines(path: str | Path) -> list[list[str]]:
    try:
        opened = gzip.open if str(path).endswith(".gz") else open
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            return list(csv.reader(file, strict=True))
    except OSError as error:
        reason = error.strerror or str(error)
        raise StudyError(f"{path} cannot be read as CSV: {reason}", "check the path") from None
    except UnicodeDecodeError:
        raise StudyError(
            f"{path} cannot be read as CSV: it is not UTF-8 text",
            "save it as CSV (UTF-8), not as a spreadsheet",
        ) from None
    except (csv.Error, EOFError, zlib.error) as error:
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
