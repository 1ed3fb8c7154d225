"""A built corpus on disk: memory-mapped tokens per domain and split, and an index over all.

Layout of the folder: ``corpus.json``, ``tokenizer.json`` (where it is known) and, per domain and
split, ``DOMAIN/SPLIT.bin`` (little-endian unsigned integers) with ``DOMAIN/SPLIT.json`` beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from mixopt.corpus.spec import SPLITS, Split
from mixopt.errors import CorpusError

FORMAT = 1
INDEX = "corpus.json"
TOKENIZER = "tokenizer.json"


class Shard(BaseModel):
    """The index of one domain and split.

    Attributes:
        tokens: Token ids in the file, end-of-text ids included.
        documents: Documents they come from.
        bytes: UTF-8 bytes of text they stand for; None for token files, which do not say.
        sha256: Hash of the token file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    tokens: int
    documents: int
    bytes: int | None
    sha256: str


class Index(BaseModel):
    """What ``corpus.json`` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int
    name: str
    context: int
    vocab_size: int
    dtype: Literal["<u2", "<u4"]
    end_of_text: int
    tokenizer_sha256: str | None
    fingerprint: str
    spec_digest: str
    manifest_digest: str
    spec: dict[str, Any]
    read: dict[str, int]
    exact_duplicates: dict[str, int]
    near_duplicates: dict[str, int]
    domains: dict[str, dict[Split, Shard]]


class Corpus:
    """Read access to a built corpus; make one with `build_corpus` or `Corpus.open`."""

    def __init__(self, path: Path, index: Index) -> None:
        self.path = path
        self.index = index

    @classmethod
    def open(cls, path: str | Path) -> Corpus:
        """Open the corpus in a folder.

        Raises:
            CorpusError: There is none, its index is broken or of another format, or a token file
                is missing or not as long as the index says.
        """
        path = Path(path)
        corpus = cls(path, _read_index(path / INDEX))
        for domain, splits in corpus.index.domains.items():
            for split, shard in splits.items():
                corpus._check_length(domain, split, shard)
        return corpus

    def _check_length(self, domain: str, split: Split, shard: Shard) -> None:
        file = self._file(domain, split)
        expected = shard.tokens * np.dtype(self.index.dtype).itemsize
        length = file.stat().st_size if file.is_file() else None
        if length != expected:
            got = "no such file" if length is None else f"{length} bytes"
            raise CorpusError(
                f"The token file {file} must have {expected} bytes as its index says, got {got}.",
                "Delete the corpus folder and build it again.",
            )

    def _file(self, domain: str, split: Split) -> Path:
        return self.path / domain / f"{split}.bin"

    def _shard(self, domain: str, split: Split) -> Shard:
        if domain not in self.index.domains:
            raise CorpusError(
                f"The corpus {self.path} has no domain {domain!r}.",
                f"Its domains are {', '.join(self.domains)}.",
            )
        if split not in SPLITS:
            raise CorpusError(
                f"A split is one of {', '.join(SPLITS)}, got {split!r}.", "Correct the name."
            )
        return self.index.domains[domain][split]

    @property
    def domains(self) -> tuple[str, ...]:
        """Domain names in the order of the spec."""
        return tuple(self.index.domains)

    @property
    def vocab_size(self) -> int:
        """Entries of the tokenizer's vocabulary."""
        return self.index.vocab_size

    @property
    def context(self) -> int:
        """Sequence length that every split can fill, in tokens."""
        return self.index.context

    @property
    def end_of_text(self) -> int:
        """Token id between documents."""
        return self.index.end_of_text

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of all tokens and of the tokenizer, or of what is known of the ids."""
        return self.index.fingerprint

    @property
    def tokenizer_path(self) -> Path | None:
        """The ``tokenizer.json`` the tokens were made with; None where only their ids are known."""
        return self.path / TOKENIZER if self.index.tokenizer_sha256 else None

    def tokens(self, domain: str, split: Split) -> NDArray[np.unsignedinteger[Any]]:
        """Token ids of a domain and split, memory-mapped read-only (``n``, uint16 or uint32)."""
        self._shard(domain, split)
        return np.memmap(self._file(domain, split), dtype=np.dtype(self.index.dtype), mode="r")

    def count(self, domain: str, split: Split) -> int:
        """Tokens of a domain and split."""
        return self._shard(domain, split).tokens

    def documents(self, domain: str, split: Split) -> int:
        """Documents of a domain and split."""
        return self._shard(domain, split).documents

    def bytes_per_token(self, domain: str, split: Split) -> float | None:
        """UTF-8 bytes of text per token: nats/token over this and log 2 is bits per byte.

        None where the domain was token files, which do not say what text they stand for.
        """
        shard = self._shard(domain, split)
        return None if shard.bytes is None else shard.bytes / shard.tokens

    def natural_weights(self) -> dict[str, float]:
        """Each domain's share of all training tokens."""
        counts = {domain: self.count(domain, "train") for domain in self.domains}
        total = sum(counts.values())
        return {domain: count / total for domain, count in counts.items()}

    def train_fingerprints(self) -> dict[str, str]:
        """SHA-256 of each domain's training tokens."""
        return {d: self._shard(d, "train").sha256 for d in self.domains}

    def verify(self) -> None:
        """Read every file and compare it with its fingerprint.

        Raises:
            CorpusError: A file does not hold what the index says.
        """
        expected: dict[Path, str] = {}
        if self.index.tokenizer_sha256:
            expected[self.path / TOKENIZER] = self.index.tokenizer_sha256
        for domain, splits in self.index.domains.items():
            for split, shard in splits.items():
                expected[self._file(domain, split)] = shard.sha256
        for file, sha256 in expected.items():
            with file.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
                    raise CorpusError(
                        f"The file {file} does not match its fingerprint {sha256[:12]}….",
                        "Delete the corpus folder and build it again.",
                    )


def corpus_fingerprint(vocabulary: str, domains: Mapping[str, Mapping[Split, Shard]]) -> str:
    """SHA-256 (hex) over vocabulary and token files; the order of domains does not matter.

    Args:
        vocabulary: SHA-256 of the tokenizer, or what is known of the ids.
        domains: The shards.
    """
    lines = [vocabulary]
    for domain in sorted(domains):
        lines += [f"{domain}/{split} {domains[domain][split].sha256}" for split in SPLITS]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_json(path: Path, value: object) -> None:
    """Write readable JSON, keys in the order given."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_index(path: Path) -> Index:
    hint = "Build one with `mixopt corpus build SPEC.yaml --out DIR`."
    try:
        index = Index.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CorpusError(
            f"There is no corpus in {path.parent}: {path.name} cannot be read ({error.strerror}).",
            hint,
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the top level"
        raise CorpusError(
            f"The corpus index {path} is broken at {where}: {first['msg']}.", hint
        ) from error
    if index.format != FORMAT:
        raise CorpusError(
            f"The corpus {path.parent} has format {index.format}, this mixopt reads {FORMAT}.", hint
        )
    return index
