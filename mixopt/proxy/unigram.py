"""How often each token occurs, as the fixed part of a proxy's logits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

#: Tokens counted per domain, at most.
MOST = 1 << 20
_PIECE = 1 << 10


def unigram_bias(texts: Iterable[NDArray[Any]], vocab_size: int) -> torch.Tensor:
    """Log token frequencies (``V``) of several texts, each text counting alike.

    A token that a text lacks counts as if it were there once, so every logarithm is finite. Of a
    long text, pieces spread evenly over it are counted.

    Args:
        texts: Token ids per domain.
        vocab_size: V, entries of the vocabulary.
    """
    shares = [(_counts(ids, vocab_size) + 1) for ids in texts]
    mean = np.mean([counts / counts.sum() for counts in shares], axis=0)
    return torch.from_numpy(np.log(mean)).float()


def _counts(ids: NDArray[Any], vocab_size: int) -> NDArray[np.int64]:
    if len(ids) > MOST:
        starts = np.linspace(0, len(ids) - _PIECE, MOST // _PIECE).astype(np.int64)
        ids = ids[starts[:, None] + np.arange(_PIECE)].ravel()
    return np.bincount(ids, minlength=vocab_size)
