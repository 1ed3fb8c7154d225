"""Megatron's indexed files: a ``.bin`` of ids and the ``.idx`` that says where documents lie.

The index (megatron/core/datasets/indexed_dataset.py) is a magic word, the version, the code of the
ids' type, the counts of sequences and of document marks, each sequence's length and its place in
the ``.bin``, and the sequence each document begins with, the end included.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixopt.corpus.documents import Documents, Ids, SourceFile, fault
from mixopt.corpus.spec import SourceSpec

_MAGIC = b"MMIDIDX\x00\x00"
_TYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 6: "float64", 7: "float32", 8: "<u2"}
_HEAD = 34


class _Index(NamedTuple):
    """Type of the ids; per document its tokens and the byte of the data at which it begins."""

    dtype: np.dtype[Any]
    lengths: NDArray[np.int64]
    places: NDArray[np.int64]


def read_megatron(domain: str, file: SourceFile) -> Documents:
    """The documents of an index, their ids memory-mapped.

    Raises:
        CorpusError: The index is broken, or the data are shorter than it says.
    """
    dtype, lengths, places = _read_index(domain, file)
    path = data_file(file.path)
    wanted = int(places[-1] + lengths[-1] * dtype.itemsize) if len(lengths) else 0
    size = path.stat().st_size
    if size < wanted:
        raise fault(
            domain,
            file._replace(path=path),
            f"must hold {wanted:,} bytes as its index says, got {size:,}",
            "It was cut short: copy it again.",
        )
    data = np.memmap(path, mode="r", dtype=np.uint8) if size else np.empty(0, np.uint8)

    def ids(number: int) -> Ids:
        start, length = int(places[number]), int(lengths[number])
        return data[start : start + length * dtype.itemsize].view(dtype)

    return Documents(len(lengths), ids)


def count_megatron(domain: str, file: SourceFile) -> int:
    """Tokens by the index alone.

    Raises:
        CorpusError: The index is broken.
    """
    return int(_read_index(domain, file).lengths.sum())


def count_megatron_tokens(prefix: str | Path) -> int | None:
    """Tokens of a Megatron prefix by its ``.idx``; None where there is none.

    Raises:
        CorpusError: The file is there and is something else.
    """
    index = Path(f"{prefix}.idx")
    if not index.is_file():
        return None
    source = SourceSpec(tokens=(str(index),))
    return count_megatron(index.stem, SourceFile(index.name, index, source))


def data_file(index: Path) -> Path:
    """The data that an index is of."""
    return index.with_suffix(".bin")


def _read_index(domain: str, file: SourceFile) -> _Index:
    with file.path.open("rb") as stream:
        head = stream.read(_HEAD)
    if not head.startswith(_MAGIC) or len(head) < _HEAD:
        raise fault(domain, file, "is not an index of Megatron's", "Name the .idx beside a .bin.")
    version, sequences, marks = (int.from_bytes(head[i : i + 8], "little") for i in (9, 18, 26))
    if version != 1:
        raise fault(
            domain,
            file,
            f"has version {version} of Megatron's index; this mixopt reads 1",
            "Write it again with a Megatron that writes version 1.",
        )
    data = np.memmap(file.path, mode="r", dtype=np.uint8)
    wanted = _HEAD + 12 * sequences + 8 * marks
    if len(data) < wanted:
        raise fault(
            domain,
            file,
            f"must hold {wanted:,} bytes for its {sequences:,} sequences, got {len(data):,}",
            "It was cut short: copy it again.",
        )
    dtype = _dtype(domain, file, head[17])
    lengths = np.frombuffer(data, "<i4", sequences, _HEAD).astype(np.int64)
    places = np.frombuffer(data, "<i8", sequences, _HEAD + 4 * sequences)
    first = np.frombuffer(data, "<i8", marks, _HEAD + 12 * sequences)
    if (places[:-1] + lengths[:-1] * dtype.itemsize != places[1:]).any() or (lengths < 0).any():
        raise fault(
            domain, file, "must have its sequences one after another", "Write the index again."
        )
    if not marks or first[-1] != sequences or (np.diff(first) < 0).any() or first[0]:
        # Nothing says which sequences make a document: each is one.
        first = np.arange(sequences + 1)
    ends = np.concatenate([[0], np.cumsum(lengths)])
    start = places[0] if sequences else 0
    return _Index(dtype, np.diff(ends[first]), start + ends[first[:-1]] * dtype.itemsize)


def _dtype(domain: str, file: SourceFile, code: int) -> np.dtype[Any]:
    found = np.dtype(_TYPES.get(code, "V"))
    if not np.issubdtype(found, np.integer):
        got = found if code in _TYPES else f"the unknown code {code}"
        raise fault(domain, file, f"must be of integers, got {got}", "Name the index of token ids.")
    return found
