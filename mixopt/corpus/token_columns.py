"""Columns of token ids in Parquet and Arrow files, a row per document."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from mixopt.corpus.documents import Documents, Ids, SourceFile, fault, token_field


def read_parquet(domain: str, file: SourceFile) -> Documents:
    """The rows of a Parquet file; their column is held in memory.

    Raises:
        CorpusError: It is no Parquet file, or has no such column of integers.
    """
    import pyarrow.parquet as pq

    with _whole(domain, file, "a Parquet"), pq.ParquetFile(file.path) as table:
        field = _field(domain, file, table.schema_arrow)
        wanted = [name for name in (field, file.source.group_field) if name]
        return _rows(domain, file, table.read(columns=wanted), field)


def count_parquet(domain: str, file: SourceFile) -> int:
    """Tokens by the footer: its values less those that stand for rows without any.

    Raises:
        CorpusError: As ``read_parquet``.
    """
    import pyarrow.parquet as pq

    with _whole(domain, file, "a Parquet"), pq.ParquetFile(file.path) as table:
        field, total = _field(domain, file, table.schema_arrow), 0
        for number in range(table.metadata.num_row_groups):
            group = table.metadata.row_group(number)
            columns = [group.column(i) for i in range(group.num_columns)]
            column = next(c for c in columns if c.path_in_schema.split(".")[0] == field)
            total += column.num_values - getattr(column.statistics, "null_count", 0)
    return int(total)


def read_arrow(domain: str, file: SourceFile) -> Documents:
    """The rows of an Arrow file or stream (what ``datasets`` saves), memory-mapped.

    Raises:
        CorpusError: As ``read_parquet``.
    """
    import pyarrow as pa

    with _whole(domain, file, "an Arrow"):
        source = pa.memory_map(str(file.path))
        try:
            table = pa.ipc.open_file(source).read_all()
        except pa.ArrowInvalid:
            table = pa.ipc.open_stream(source).read_all()
        return _rows(domain, file, table, _field(domain, file, table.schema))


def count_arrow(domain: str, file: SourceFile) -> int:
    """Tokens by the lengths of the rows; the ids are not read.

    Raises:
        CorpusError: As ``read_parquet``.
    """
    rows = read_arrow(domain, file)
    return sum(len(rows.ids(number)) for number in range(rows.total))


@contextmanager
def _whole(domain: str, file: SourceFile, kind: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except pa.ArrowException as error:
        raise fault(
            domain,
            file,
            f"is not {kind} file: {' '.join(str(error).split())}",
            "Check the pattern, or that the file was written whole.",
        ) from None


def _field(domain: str, file: SourceFile, schema: Any) -> str:
    """The column of ids, which must be of lists of integers."""
    import pyarrow as pa

    field = token_field(domain, file, schema.names)
    kind = schema.field(field).type
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(is_list(kind) for is_list in lists) or not pa.types.is_integer(kind.value_type):
        raise fault(
            domain,
            file,
            f"must have lists of integers under {field!r}, got {kind}",
            "Set token_field to the column of token ids.",
        )
    return field


def _rows(domain: str, file: SourceFile, table: Any, field: str) -> Documents:
    import pyarrow.compute as pc

    parts: list[tuple[Ids, Any]] = []
    for chunk in table.column(field).chunks:
        values = chunk.flatten()
        if values.null_count:
            raise fault(
                domain, file, f"must have no missing ids under {field!r}", "Write whole documents."
            )
        lengths = pc.list_value_length(chunk).fill_null(0).to_numpy(zero_copy_only=False)
        parts.append((values.to_numpy(), np.concatenate([[0], np.cumsum(lengths)])))
    first = np.cumsum([0, *(len(bounds) - 1 for _, bounds in parts)])

    def ids(number: int) -> Ids:
        place = int(np.searchsorted(first, number, side="right")) - 1
        values, bounds = parts[place]
        row = number - first[place]
        return values[bounds[row] : bounds[row + 1]]

    return Documents(int(first[-1]), ids, _groups(domain, file, table))


def _groups(domain: str, file: SourceFile, table: Any) -> Callable[[int], object] | None:
    name = file.source.group_field
    if name is None:
        return None
    if name not in table.column_names:
        raise fault(
            domain,
            file,
            f"has no column {name!r}; its columns are {', '.join(table.column_names)}",
            "Set group_field to one of its columns.",
        )
    return table.column(name).to_pylist().__getitem__  # type: ignore[no-any-return]
