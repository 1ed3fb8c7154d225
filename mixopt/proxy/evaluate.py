"""Validation loss per domain."""

from __future__ import annotations

from collections.abc import Callable
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


def measure(model: Proxy, windows: dict[str, torch.Tensor], batch: int) -> dict[str, float]:
    """Mean cross-entropy (nats/token) per domain over its windows (``n x (context + 1)``)."""
    return {name: float(mean) for name, mean in mean_losses(model.loss, windows, batch).items()}


@torch.no_grad()
def mean_losses(
    loss: Callable[[torch.Tensor], torch.Tensor], windows: dict[str, torch.Tensor], batch: int
) -> dict[str, torch.Tensor]:
    """The mean per domain of a loss of sequences, in double precision.

    Args:
        loss: ``B x (context + 1)`` to the mean loss of one proxy (no shape) or of several (``K``).
        windows: Sequences per domain.
        batch: Sequences at a time.
    """
    means = {}
    for domain, ids in windows.items():
        parts = [loss(part).double() * len(part) for part in torch.split(ids, batch)]
        means[domain] = torch.stack(parts).sum(0) / len(ids)
    return means
