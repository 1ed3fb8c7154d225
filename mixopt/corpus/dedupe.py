"""Removal of exact and near duplicates, over all domains at once.

A text that stays in training must not cover a held-out one, so duplicates are removed before the
split and across domains; the first document in reading order is the one kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mixopt.corpus.documents import Content
from mixopt.corpus.spec import NearDuplicates

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def exact_duplicates(contents: Iterable[Content]) -> NDArray[np.bool_]:
    """True (``n``) where an earlier text is the same up to runs of whitespace, or earlier ids."""
    seen: set[bytes] = set()
    repeated = []
    for content in contents:
        plain = (
            " ".join(content.split()).encode("utf-8")
            if isinstance(content, str)
            else content.astype("<i8").tobytes()
        )
        digest = hashlib.blake2b(plain, digest_size=16).digest()
        repeated.append(digest in seen)
        seen.add(digest)
    return np.array(repeated, dtype=bool)


def near_duplicates(contents: Sequence[Content], settings: NearDuplicates) -> NDArray[np.bool_]:
    """True (``n``) where a kept earlier document has an estimated Jaccard similarity >= threshold.

    MinHash (Broder 1997) over n-grams of words, or of token ids; candidates come from datasketch's
    LSH index and are checked against their full signatures, so that a chance collision of one band
    drops nothing.
    """
    from datasketch import MinHash, MinHashLSH

    blank = MinHash(num_perm=settings.num_perm, seed=1, scheme="affine32")
    signatures = _signatures(contents, settings.ngram, blank.permutations)
    index = MinHashLSH(threshold=settings.threshold, num_perm=settings.num_perm)
    dropped = np.zeros(len(contents), dtype=bool)
    for i, signature in enumerate(signatures):
        minhash = MinHash(hashvalues=signature, permutations=blank.permutations, scheme="affine32")
        candidates = index.query(minhash)
        if candidates:
            agreement = (signatures[candidates] == signature).mean(axis=1)
            dropped[i] = bool(agreement.max() >= settings.threshold)
        if not dropped[i]:
            index.insert(i, minhash, check_duplication=False)
    return dropped


def _signatures(
    contents: Sequence[Content], ngram: int, permutations: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    """MinHash signatures (``n x num_perm``) in datasketch's affine32 scheme.

    The library hashes one shingle at a time in Python; here whole documents go through numpy.
    """
    factors, shifts = permutations
    words = _WordHashes()
    out = np.empty((len(contents), len(factors)), dtype=np.uint32)
    for i, content in enumerate(contents):
        found = [words[w] for w in content.split()] if isinstance(content, str) else content
        hashes = np.array(found, dtype=np.uint64)
        shingles = np.unique(_shingles(hashes, ngram))
        out[i] = (shingles[:, None] * factors + shifts).min(axis=0)
    return out


class _WordHashes(dict[str, int]):
    """Hash of a word, remembered: words repeat, and Python's own hash differs per process."""

    def __missing__(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode("utf-8"), digest_size=8).digest()
        value = self[word] = int.from_bytes(digest, "little")
        return value


def _shingles(words: NDArray[np.uint64], ngram: int) -> NDArray[np.uint32]:
    """Hashes of all runs of ``ngram`` words; a shorter text is one shingle."""
    length = min(ngram, len(words))
    count = len(words) - length + 1
    mixed = np.zeros(count, dtype=np.uint64)
    for offset in range(length):
        # Order matters: multiply and fold what came before, then add the next word.
        mixed *= _GOLDEN
        mixed = (mixed ^ (mixed >> np.uint64(29))) + words[offset : offset + count]
    mixed *= _GOLDEN
    return (mixed >> np.uint64(32)).astype(np.uint32)
