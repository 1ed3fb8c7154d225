"""Validation loss per domain."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mixopt.errors import TrialError
from mixopt.proxy.transformer import Proxy


def evaluation_windows(
    tokens: NDArray[Any], context: int, limit: int | None, domain: str
) -> NDArray[np.int64]:
    """Windows (``n x (context + 1)``) spread evenly over a split, ``n * context <= limit``.

    At least one window is taken, so that a limit below the context still measures something; no
    limit takes them all.

    Raises:
        TrialError: If the split is shorter than one window.
    """
    available = (len(tokens) - 1) // context
    if available < 1:
        raise TrialError(
            f"the held-out text of {domain!r} must hold at least {context + 1} tokens; it has "
            f"{len(tokens)}",
            "shorten the context, or give the domain a larger held-out share",
        )
    count = available if limit is None else min(available, max(limit // context, 1))
    starts = (np.arange(count) * available // count) * context
    return np.asarray(tokens[starts[:, None] + np.arange(context + 1)], dtype=np.int64)


@torch.no_grad()
def measure(model: Proxy, windows: dict[str, torch.Tensor], batch: int) -> dict[str, float]:
    """Mean cross-entropy (nats/token) per domain over its windows (``n x (context + 1)``)."""
    losses = {}
    for domain, ids in windows.items():
        parts = [model.loss(part).double() * len(part) for part in torch.split(ids, batch)]
        losses[domain] = float(torch.stack(parts).sum()) / len(ids)
    return losses
