"""What readers hand over: documents of text or of token ids, under keys that decide their split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mixopt.corpus.spec import SourceSpec
from mixopt.errors import CorpusError

Ids: TypeAlias = NDArray[np.integer[Any]]
Content: TypeAlias = str | Ids

#: Bytes that a token counts as where text is measured: about what it stands for.
TOKEN_BYTES = 4
#: Columns of ids by their usual names.
TOKEN_FIELDS = ("input_ids", "tokens")


class Document(NamedTuple):
    """A text or its token ids, and the key that decides its split; what shares one stays together.

    Attributes:
        key: Of the document, or of the group it is part of.
        content: Text, or ids (``n``, any integers).
    """

    key: str
    content: Content


class SourceFile(NamedTuple):
    """A file to read, under a key that does not depend on where the files lie."""

    key: str
    path: Path
    source: SourceSpec


class Documents(NamedTuple):
    """The documents of a token file, opened and not read.

    Attributes:
        total: How many.
        ids: Those of one (``n``), by its number.
        group: What one is part of, where the file says it.
    """

    total: int
    ids: Callable[[int], Ids]
    group: Callable[[int], object] | None = None


def size_of(content: Content) -> int:
    """UTF-8 bytes of a text, or what token ids count as."""
    return len(content.encode("utf-8")) if isinstance(content, str) else TOKEN_BYTES * len(content)


def hash_order(seed: int, key: str) -> bytes:
    """A rank for ``key`` drawn from the seed: 16 bytes, the same on every machine."""
    return hashlib.blake2b(f"{seed}\0{key}".encode(), digest_size=16).digest()


def fault(domain: str, file: SourceFile, what: str, hint: str) -> CorpusError:
    """An error of a file, to be raised."""
    return CorpusError(f"Domain {domain!r}: {file.path} {what}.", hint)


def token_field(domain: str, file: SourceFile, names: Sequence[str]) -> str:
    """The column of ids: the one asked for, or the first that has a usual name.

    Raises:
        CorpusError: There is none.
    """
    wanted = [file.source.token_field] if file.source.token_field else TOKEN_FIELDS
    found = next((name for name in wanted if name in names), None)
    if found is None:
        raise fault(
            domain,
            file,
            f"has no column {' or '.join(map(repr, wanted))}; its columns are {', '.join(names)}",
            "Set token_field to that of the ids.",
        )
    return found
