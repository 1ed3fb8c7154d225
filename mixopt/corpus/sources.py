"""Readers of text, and a domain's documents from all of its sources."""

from __future__ import annotations

import glob as globbing
import gzip
import hashlib
import json
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import zstandard

from mixopt.corpus.documents import (
    TOKEN_BYTES,
    Content,
    Document,
    SourceFile,
    hash_order,
    size_of,
)
from mixopt.corpus.installed import installed_files, read_installed
from mixopt.corpus.spec import CorpusSpec, DomainSpec, SourceSpec
from mixopt.corpus.token_files import (
    Vocabulary,
    content_mark,
    count_tokens,
    read_token_file,
    standing_for,
)
from mixopt.errors import CorpusError
from mixopt.steps import step

_CHUNK = 1 << 16
#: Of a small vocabulary; only what one domain has beside another depends on it.
_BYTES_PER_TOKEN = 3.5


def domain_files(domain: str, spec: DomainSpec, root: Path) -> list[SourceFile]:
    """All files of a domain, sorted by key.

    Raises:
        CorpusError: A pattern matches nothing, or a named file is missing.
    """
    found: dict[Path, SourceFile] = {}
    for source in spec.sources:
        for file in _source_files(domain, source, root):
            found.setdefault(file.path, file)
    return sorted(found.values(), key=lambda file: (file.key, str(file.path)))


@step("counting tokens")
def expected_tokens(spec: CorpusSpec) -> dict[str, int]:
    """Training tokens per domain that its files let expect, before a corpus is built.

    Text is counted by its size, token files by their metadata; copies are not known yet.

    Raises:
        CorpusError: As for ``domain_files``, or a token file is at fault.
    """
    share = 1 - spec.split.validation - spec.split.confirmation
    found = {}
    for name, domain in spec.domains.items():
        read = sum(_tokens_of(name, file) for file in domain_files(name, domain, spec.root))
        if domain.max_bytes is not None:
            each = TOKEN_BYTES if domain.sources[0].tokens else _BYTES_PER_TOKEN
            read = min(read, domain.max_bytes / each)
        tokens = max(int(share * read), 1)
        found[name] = min(tokens, domain.max_tokens or tokens)
    return found


@step("counting tokens")
def metadata_tokens(spec: CorpusSpec) -> dict[str, int]:
    """Tokens in the files of each domain by their metadata.

    Raises:
        CorpusError: A domain is of text, or a file is at fault.
    """
    for name, domain in spec.domains.items():
        if not all(source.tokens for source in domain.sources):
            raise CorpusError(
                f"Domain {name!r} is of text, whose tokens are known once they are made.",
                "Build it: mixopt corpus build SPEC.yaml --out DIR.",
            )
    return {
        name: int(sum(_tokens_of(name, file) for file in domain_files(name, domain, spec.root)))
        for name, domain in spec.domains.items()
    }


def _tokens_of(domain: str, file: SourceFile) -> float:
    with _readable(domain, file):
        if file.source.tokens:
            return count_tokens(domain, file)
        return file.path.stat().st_size / _BYTES_PER_TOKEN


def _source_files(domain: str, source: SourceSpec, root: Path) -> Iterator[SourceFile]:
    if source.installed is not None:
        files = installed_files(source.installed, source.packages)
        if not files:
            raise CorpusError(
                f"Domain {domain!r}: no installed {source.installed} files were found.",
                "Install the packages it names, or give the domain other sources.",
            )
        yield from (SourceFile(key, path, source) for key, path in files)
        return
    for name in source.files:
        yield SourceFile(name, root / name, source)
    for pattern in source.glob + source.jsonl + source.parquet + source.tokens:
        matches = _matches(root / pattern, tokens=bool(source.tokens))
        if not matches:
            raise CorpusError(
                f"Domain {domain!r}: the pattern {pattern!r} matches no file under {root}.",
                "Patterns start from the spec's folder; ** crosses folders.",
            )
        base = _fixed_part(root / pattern)
        yield from (
            SourceFile(match.relative_to(base).as_posix(), match, source) for match in matches
        )


def _matches(pattern: Path, *, tokens: bool) -> list[Path]:
    """The files of a pattern; of token files the index stands for its data, and a prefix for it."""
    found = [Path(match) for match in globbing.glob(str(pattern), recursive=True)]
    if tokens:
        found = found or [Path(match) for match in globbing.glob(f"{pattern}.idx", recursive=True)]
        found = [file for match in found if (file := standing_for(match))]
    return [match for match in found if match.is_file()]


def _fixed_part(pattern: Path) -> Path:
    """The folders of a pattern before its first wildcard."""
    parts = pattern.parts
    plain = next((i for i, part in enumerate(parts) if globbing.has_magic(part)), len(parts) - 1)
    return Path(*parts[:plain])


@contextmanager
def _readable(domain: str, file: SourceFile) -> Iterator[None]:
    """Name the file that cannot be read or decoded.

    Raises:
        CorpusError: If one cannot.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"Domain {domain!r}: {file.path} must be UTF-8, but byte {error.start} is not "
            f"({error.reason}).",
            "Convert the file to UTF-8 or take it out of the source.",
        ) from error
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        what = getattr(error, "strerror", None) or error
        raise CorpusError(
            f"Domain {domain!r}: {getattr(error, 'filename', None) or file.path} cannot be read: "
            f"{what}.",
            "Check that the file exists, is readable and is whole.",
        ) from error


def _reader(source: SourceSpec) -> Callable[[str, SourceFile], Iterator[Document]]:
    if source.installed is not None:
        return _read_installed
    if source.jsonl:
        return _read_jsonl
    return _read_parquet if source.parquet else _read_text


def _read_installed(_domain: str, file: SourceFile) -> Iterator[Document]:
    assert file.source.installed is not None, "dispatch on the kind comes first"
    for text in read_installed(file.source.installed, file.path):
        yield Document(file.key, text)


def _read_text(_domain: str, file: SourceFile) -> Iterator[Document]:
    text = file.path.read_bytes().decode("utf-8")
    if text.strip():
        yield Document(file.key, text)


def _read_jsonl(domain: str, file: SourceFile) -> Iterator[Document]:
    field = file.source.text_field
    for number, line in enumerate(_lines(file.path), start=1):
        if line.strip():
            where = f"{file.path}:{number}"
            row = _parsed(domain, where, line)
            fields = row if isinstance(row, dict) else {}
            key = _key(domain, where, file, number, fields)
            yield from _checked(domain, where, key, field, fields.get(field))


def _parsed(domain: str, where: str, line: bytes) -> object:
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"Domain {domain!r}: {where} must be UTF-8, but byte {error.start} of the line is not "
            f"({error.reason}).",
            "Convert the file to UTF-8 or delete the line.",
        ) from error
    except json.JSONDecodeError as error:
        raise CorpusError(
            f"Domain {domain!r}: {where} is not JSON: {error.msg} at column {error.colno}.",
            "Every line must be one JSON object; mend or delete the line.",
        ) from error


def _lines(path: Path) -> Iterator[bytes]:
    if path.suffix == ".zst":
        yield from _zstd_lines(path)
    elif path.suffix == ".gz":
        with gzip.open(path, "rb") as packed:
            yield from packed
    else:
        with path.open("rb") as plain:
            yield from plain


def _zstd_lines(path: Path) -> Iterator[bytes]:
    """Lines of one or more zstd frames; the library's own reader ends quietly at a torn frame."""
    frame: zstandard.ZstdDecompressionObj | None = None
    pending = unread = b""
    with path.open("rb") as file:
        while data := unread or file.read(_CHUNK):
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            *lines, pending = (pending + frame.decompress(data)).split(b"\n")
            yield from lines
            unread = b""
            if frame.eof:
                unread, frame = frame.unused_data, None
    if frame is not None:
        raise EOFError("the compressed stream ends before its end mark")
    if pending:
        yield pending


def _read_parquet(domain: str, file: SourceFile) -> Iterator[Document]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    field = file.source.text_field
    try:
        with pq.ParquetFile(file.path) as table:
            names = table.schema_arrow.names
            wanted = {"text_field": field, "group_field": file.source.group_field}
            for setting, name in wanted.items():
                if name is not None and name not in names:
                    raise CorpusError(
                        f"Domain {domain!r}: {file.path} has no column {name!r}; its columns are "
                        f"{', '.join(names)}.",
                        f"Set {setting} to one of its columns.",
                    )
            columns = [name for name in dict.fromkeys(wanted.values()) if name is not None]
            number = 0
            for batch in table.iter_batches(columns=columns, batch_size=4096):
                for row in batch.to_pylist():
                    where = f"{file.path} row {number}"
                    key = _key(domain, where, file, number, row)
                    yield from _checked(domain, where, key, field, row[field])
                    number += 1
    except pa.ArrowException as error:
        raise CorpusError(
            f"Domain {domain!r}: {file.path} is not a Parquet file: {error}.",
            "Check the pattern, or that the file was written whole.",
        ) from error


def _key(domain: str, where: str, file: SourceFile, number: int, row: Mapping[str, object]) -> str:
    """What decides the split of a row: its group where the source names one, else its place."""
    field = file.source.group_field
    if field is None:
        return f"{file.key}:{number}"
    value = row.get(field)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        got = "nothing" if value is None else type(value).__name__
        raise CorpusError(
            f"Domain {domain!r}: {where} must hold a text or a number under {field!r}, got {got}.",
            "Set group_field to the field that names a row's document, or mend the row.",
        )
    return f"{field}={value}"


def _checked(domain: str, where: str, key: str, field: str, value: object) -> Iterator[Document]:
    if not isinstance(value, str):
        got = "nothing" if value is None else type(value).__name__
        raise CorpusError(
            f"Domain {domain!r}: {where} must hold text under {field!r}, got {got}.",
            "Set text_field to the field that holds the text, or mend the row.",
        )
    if value.strip():
        yield Document(key, value)


def read_file(
    domain: str, file: SourceFile, vocabulary: Vocabulary | None = None, seed: int | None = None
) -> Iterator[Document]:
    """The documents of one file, empty ones left out.

    Args:
        domain: What it belongs to.
        file: To read.
        vocabulary: Of token files; text needs none.
        seed: Draws the order of a token file's documents; None takes them as they lie.

    Raises:
        CorpusError: The file cannot be read, decoded or parsed, or lacks the text field; the
            message names domain and file (and line or row).
    """
    with _readable(domain, file):
        if file.source.tokens:
            assert vocabulary is not None, "the spec gives token files a vocabulary"
            yield from read_token_file(domain, file, vocabulary, seed)
        else:
            yield from _reader(file.source)(domain, file)


def read_domain(
    domain: str,
    spec: DomainSpec,
    files: list[SourceFile],
    seed: int,
    max_document: int | None,
    vocabulary: Vocabulary | None = None,
) -> list[Document]:
    """The documents of a domain, long ones in pieces under one key.

    Where ``max_bytes`` is given, files are visited in seeded order, and each gives at most its part
    of the bytes that are left, so that no single file fills them all; so are the documents of token
    files.

    Raises:
        CorpusError: A file is at fault, or the domain holds no text.
    """
    documents: list[Document] = []
    left = math.inf if spec.max_bytes is None else float(spec.max_bytes)
    for place, file in enumerate(sorted(files, key=lambda file: hash_order(seed, file.key))):
        allowed = left / (len(files) - place)
        found = read_file(domain, file, vocabulary, None if spec.max_bytes is None else seed)
        for piece in _pieces_of(found, max_document):
            documents.append(piece)
            size = size_of(piece.content)
            left, allowed = left - size, allowed - size
            if allowed <= 0:
                break
        if left <= 0:
            break
    if not documents:
        raise CorpusError(
            f"Domain {domain!r} is empty: its {len(files)} files hold no text.",
            "Give it a source that holds some, or remove the domain.",
        )
    return documents


def _pieces_of(documents: Iterable[Document], limit: int | None) -> Iterator[Document]:
    for document in documents:
        for piece in _pieces(document.content, limit):
            yield Document(document.key, piece)


def _pieces(content: Content, limit: int | None) -> Iterator[Content]:
    """What is at most ``limit`` bytes long; a text is cut after a line where one ends late."""
    if isinstance(content, str):
        yield from _text_pieces(content, limit)
        return
    most = len(content) if limit is None else max(limit // TOKEN_BYTES, 1)
    yield from (content[start : start + most] for start in range(0, len(content), most))


def _text_pieces(text: str, limit: int | None) -> Iterator[str]:
    # Lone surrogates are legal in JSON escapes but have no UTF-8 form: they become "?".
    encoded = text.encode("utf-8", errors="replace")
    start = 0
    while limit is not None and len(encoded) - start > limit:
        line = encoded.rfind(b"\n", start + limit // 2, start + limit) + 1
        end = line or _character_end(encoded, start, limit)
        yield encoded[start:end].decode("utf-8")
        start = end
    if start < len(encoded):
        yield encoded[start:].decode("utf-8")


def _character_end(encoded: bytes, start: int, limit: int) -> int:
    """Where the last character ends that lies within ``limit`` bytes, or else the first one."""
    last = range(start + limit, start, -1)
    following = range(start + limit + 1, len(encoded))
    ends = (i for i in (*last, *following) if encoded[i] & 0xC0 != 0x80)
    return next(ends, len(encoded))


def manifest_digest(files: dict[str, list[SourceFile]]) -> str:
    """SHA-256 (hex) of which files there are and what they hold, independent of their folder.

    Installed packages count by size: their content is fixed by their pinned version.

    Raises:
        CorpusError: A file cannot be read; the message names domain and file.
    """
    digest = hashlib.sha256()
    for domain, listed in files.items():
        for file in listed:
            try:
                content = _content_mark(file)
            except OSError as error:
                raise CorpusError(
                    f"Domain {domain!r}: {file.path} cannot be read: {error.strerror}.",
                    "Check that the file exists and is readable.",
                ) from error
            digest.update(f"{domain}\0{file.key}\0{content}\n".encode())
    return digest.hexdigest()


def _content_mark(file: SourceFile) -> str:
    if file.source.installed is not None:
        return str(file.path.stat().st_size)
    if file.source.tokens:
        return content_mark(file)
    with file.path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
