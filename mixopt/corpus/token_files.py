"""Token files as corpora: which reader a file takes, and what holds for all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixopt.corpus.documents import Document, Documents, Ids, SourceFile, fault, hash_order
from mixopt.corpus.mds_files import count_mds, read_mds, shard_files
from mixopt.corpus.megatron_files import count_megatron, data_file, read_megatron
from mixopt.corpus.token_columns import count_arrow, count_parquet, read_arrow, read_parquet

# Larger data files are told apart by their size and by blocks from all over them.
_HASHED_WHOLE = 1 << 28
_BLOCKS, _BLOCK = 256, 1 << 16


class Vocabulary(NamedTuple):
    """What ids are of: the entries of the vocabulary, and the id between documents."""

    size: int
    end: int


class _Format(NamedTuple):
    """How one kind of file is read and counted, and which files hold its ids."""

    read: Callable[[str, SourceFile], Documents]
    tokens: Callable[[str, SourceFile], int]
    data: Callable[[Path], list[Path]] = lambda path: [path]


_FORMATS = {
    ".idx": _Format(read_megatron, count_megatron, lambda index: [data_file(index)]),
    "index.json": _Format(read_mds, count_mds, shard_files),
    ".parquet": _Format(read_parquet, count_parquet),
    ".arrow": _Format(read_arrow, count_arrow),
}


def standing_for(match: Path) -> Path | None:
    """The file that stands for what a pattern found: an index for its data; None for a folder."""
    if match.is_dir():
        index = match / "index.json"
        return index if index.is_file() else None
    index = match.with_suffix(".idx")
    return index if match.suffix == ".bin" and index.is_file() else match


def read_token_file(
    domain: str, file: SourceFile, vocabulary: Vocabulary, seed: int | None
) -> Iterator[Document]:
    """The documents of a token file, empty ones left out.

    Args:
        domain: What it belongs to.
        file: The index, where the format has one.
        vocabulary: What its ids must be of.
        seed: Draws the order of the documents; None takes them as they lie.

    Raises:
        CorpusError: The file is not what its name says, is cut short, or holds other ids.
    """
    found = _format(file)
    documents = found.read(domain, file) if found else _read_plain(domain, file, vocabulary.end)
    order: Sequence[int] = range(documents.total)
    if seed is not None:
        entropy = int.from_bytes(hash_order(seed, file.key), "little")
        order = np.random.default_rng(entropy).permutation(documents.total).tolist()
    for number in order:
        ids = documents.ids(number)
        _require_known(domain, file, number, ids, vocabulary.size)
        # An end alone is a document without a text.
        if len(ids) > 1 or (len(ids) == 1 and ids[0] != vocabulary.end):
            yield Document(_key(domain, file, documents, number), ids)


def count_tokens(domain: str, file: SourceFile) -> int:
    """Tokens of a file by its metadata: index, footer, header or size.

    Raises:
        CorpusError: The file is not what its name says.
    """
    found = _format(file)
    return found.tokens(domain, file) if found else int(_plain_array(domain, file).size)


def content_mark(file: SourceFile) -> str:
    """What tells the content of a token file from another's: SHA-256 of its index and its data.

    Of large data files the size counts, and blocks from all over them.
    """
    found = _format(file)
    data = found.data(file.path) if found else [file.path]
    digest = hashlib.sha256()
    for path in dict.fromkeys([file.path, *data]):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as stream:
            if size <= _HASHED_WHOLE:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
                continue
            for block in range(_BLOCKS):
                stream.seek(block * (size - _BLOCK) // (_BLOCKS - 1))
                digest.update(stream.read(_BLOCK))
    return digest.hexdigest()


def _format(file: SourceFile) -> _Format | None:
    """By the file's name or ending; None for ids without a structure of their own."""
    return _FORMATS.get(file.path.name) or _FORMATS.get(file.path.suffix)


def _require_known(domain: str, file: SourceFile, number: int, ids: Ids, size: int) -> None:
    if len(ids) and (ids.min() < 0 or ids.max() >= size):
        odd = ids[(ids < 0) | (ids >= size)][0]
        raise fault(
            domain,
            file,
            f"must hold ids from 0 to {size - 1}, its vocabulary, got {odd} in document {number}",
            "Give the tokenizer, or the vocab_size, that it was made with.",
        )


def _key(domain: str, file: SourceFile, documents: Documents, number: int) -> str:
    field = file.source.group_field
    if field is None:
        return f"{file.key}:{number}"
    value = documents.group(number) if documents.group else None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise fault(
            domain,
            file,
            f"must hold a text or a number under {field!r} in row {number}, got {value!r}",
            "Name a column of groups, which Parquet and Arrow files may have, or leave it out.",
        )
    return f"{field}={value}"


def _read_plain(domain: str, file: SourceFile, end: int) -> Documents:
    """Rows of an array, or what lies between the ends of documents."""
    found = _plain_array(domain, file)
    if found.ndim == 2:
        return Documents(len(found), found.__getitem__)
    ends = np.flatnonzero(found == end) + 1
    if len(found) and not len(ends):
        raise fault(
            domain,
            file,
            f"holds no end-of-document id {end} among its {len(found):,} tokens",
            "Give the id that its tokenizer puts after every document.",
        )
    bounds = np.unique(np.concatenate([[0], ends, [len(found)]]))
    return Documents(len(bounds) - 1, lambda i: found[bounds[i] : bounds[i + 1]])


def _plain_array(domain: str, file: SourceFile) -> Ids:
    """Ids with NumPy's header or none, memory-mapped."""
    with file.path.open("rb") as stream:
        if stream.read(6) != b"\x93NUMPY":
            return _headless(domain, file)
    try:
        found: Ids = np.load(file.path, mmap_mode="r")
    except (ValueError, EOFError) as error:
        what = f"is not a whole array of numbers: {' '.join(str(error).split())}"
        raise fault(domain, file, what, "Write it again with numpy.save.") from None
    if not np.issubdtype(found.dtype, np.integer) or found.ndim not in (1, 2):
        raise fault(
            domain,
            file,
            f"must be of integers in one or two dimensions, got {found.dtype} in {found.ndim}",
            "Write token ids: one stream of documents, or a row for each.",
        )
    return found


def _headless(domain: str, file: SourceFile) -> Ids:
    if file.source.dtype is None:
        raise fault(
            domain,
            file,
            "does not say the type of its ids",
            "Write `dtype: uint16`, or what it was written with, beside its pattern.",
        )
    dtype, size = np.dtype(file.source.dtype).newbyteorder("<"), file.path.stat().st_size
    if size % dtype.itemsize:
        raise fault(
            domain,
            file,
            f"must hold whole ids of {dtype.itemsize} bytes, got {size:,} bytes",
            "Correct `dtype`, or copy the file again.",
        )
    return np.memmap(file.path, mode="r", dtype=dtype) if size else np.empty(0, dtype)
