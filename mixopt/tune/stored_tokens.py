"""A corpus' tokens in Ray's object store: one copy per node, read by all its trials in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import ray
from numpy.typing import NDArray

from mixopt.corpus import Corpus, Split
from mixopt.space import Trainer

#: Share of a node's object store that tokens may fill; a larger corpus is read from its folder.
LARGEST_SHARE = 0.3
SPLITS: tuple[Split, ...] = ("train", "validation", "confirmation")


@dataclass(frozen=True)
class StoredTokens:
    """A corpus whose tokens workers take from the object store (a ``TokenSource``).

    Attributes:
        domains: Domain names.
        vocab_size: Entries of the vocabulary.
        fingerprint: Hash of all tokens.
        references: Of the token ids per domain and split.
    """

    domains: tuple[str, ...]
    vocab_size: int
    fingerprint: str
    references: Mapping[tuple[str, Split], ray.ObjectRef[Any]]

    def tokens(self, domain: str, split: Split) -> NDArray[Any]:
        """Token ids of a domain and split: read-only, and not copied."""
        found = ray.get(self.references[domain, split])
        return cast("NDArray[Any]", found)


@runtime_checkable
class ReadingTokens(Protocol):
    """A trainer that reads a corpus, wherever its tokens lie; the proxy's is one."""

    def corpus(self) -> object:
        """What it reads."""

    def reading(self, corpus: Any) -> Trainer:
        """The same trainer with its tokens from elsewhere."""


def store_tokens(trainer: Trainer) -> StoredTokens | None:
    """Put the corpus that a trainer reads into the object store.

    Returns:
        What takes the place of its corpus; None where the trainer reads none, or where its tokens
        would fill too much of the smallest node's store.
    """
    corpus = trainer.corpus() if isinstance(trainer, ReadingTokens) else None
    if not isinstance(corpus, Corpus):
        return None
    arrays = {(d, s): np.asarray(corpus.tokens(d, s)) for d in corpus.domains for s in SPLITS}
    if sum(ids.nbytes for ids in arrays.values()) > LARGEST_SHARE * _smallest_store():
        return None
    return StoredTokens(
        corpus.domains,
        corpus.vocab_size,
        corpus.fingerprint,
        {key: ray.put(ids) for key, ids in arrays.items()},
    )


def _smallest_store() -> float:
    """Bytes of the smallest object store of the nodes."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    sizes: list[float] = [
        node["Resources"].get("object_store_memory", 0.0) for node in nodes if node["Alive"]
    ]
    return min(sizes)
