"""One step of training."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from mixopt.proxy.adamw import AdamW, Group
from mixopt.proxy.settings import ProxySettings
from mixopt.proxy.shape import ProxyShape
from mixopt.proxy.transformer import BASE_WIDTH, Proxy

_MATRIX = re.compile(r"blocks\.\d+\.(?!norm)")


class Trained(Protocol):
    """A proxy, or several of one shape with stacked parameters."""

    @property
    def shape(self) -> ProxyShape:
        """Of each."""

    def named_parameters(self) -> Iterable[tuple[str, Tensor]]:
        """By the names in a proxy."""


def adamw(model: Trained, settings: ProxySettings) -> AdamW:
    """AdamW with decay and size-scaled rates on the matrices of the blocks only."""
    parameters = dict(model.named_parameters())
    matrices = [p for name, p in parameters.items() if _MATRIX.match(name)]
    others = [p for name, p in parameters.items() if not _MATRIX.match(name)]
    scale = matrix_rate(model.shape)
    groups: list[Group] = [
        {"params": matrices, "weight_decay": settings.weight_decay, "multiplier": scale},
        {"params": others, "weight_decay": 0.0, "multiplier": 1.0},
    ]
    return AdamW(groups, settings.learning_rate, settings.betas)


def matrix_rate(shape: ProxyShape) -> float:
    """Learning rate of the blocks' matrices over the peak: 1 at width 64 and up to two layers.

    The share 64/d is muP's for Adam (Yang et al., arXiv 2203.03466, table 8). Width alone does not
    carry the rate over to a deeper proxy: at 0.8M parameters (width 128, 4 layers) half of it is
    needed again, hence 2/layers.
    """
    return BASE_WIDTH / shape.d_model * 2 / max(shape.layers, 2)


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[Any]:
    """Products in ``dtype``; nothing to do for float32."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def train_step(
    model: Proxy,
    optimizer: AdamW,
    ids: Tensor,
    rate: float,
    clip: float,
    dtype: torch.dtype,
) -> Tensor:
    """Train on sequences ``B x (T + 1)`` at a rate; returns the loss."""
    optimizer.rate = rate
    with autocast(ids.device, dtype):
        loss = model.loss(ids)
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


@contextlib.contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Work on a number of CPU threads, then go back to what the process had."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
