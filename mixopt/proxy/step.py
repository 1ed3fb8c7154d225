"""One step of training, and how fast steps are."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

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


def adamw(model: Trained, settings: ProxySettings) -> torch.optim.AdamW:
    """AdamW with decay and size-scaled rates on the matrices of the blocks only."""
    parameters = dict(model.named_parameters())
    matrices = [p for name, p in parameters.items() if _MATRIX.match(name)]
    others = [p for name, p in parameters.items() if not _MATRIX.match(name)]
    scale = matrix_rate(model.shape)
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay, "multiplier": scale},
        {"params": others, "weight_decay": 0.0, "multiplier": 1.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)


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
    optimizer: torch.optim.AdamW,
    ids: Tensor,
    rate: float,
    clip: float,
    dtype: torch.dtype,
) -> Tensor:
    """Train on sequences ``B x (T + 1)`` at a rate; returns the loss."""
    set_rate(optimizer, rate)
    with autocast(ids.device, dtype):
        loss = model.loss(ids)
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def set_rate(optimizer: torch.optim.AdamW, rate: float) -> None:
    """Give each group of parameters its share of a step's rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["multiplier"]


@contextlib.contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Work on a number of CPU threads, then go back to what the process had."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def tokens_per_second(
    shape: ProxyShape, settings: ProxySettings, vocab_size: int, *, steps: int = 10
) -> float:
    """Training tokens per second here and now: the median of some steps, evaluation apart."""
    device = settings.resolved_device()
    dtype = settings.resolved_dtype(device)
    model = Proxy(shape, vocab_size, settings.context, seed=0).to(device)
    optimizer = adamw(model, settings)
    generator = torch.Generator().manual_seed(0)
    size = (settings.batch, settings.context + 1)
    ids = torch.randint(vocab_size, size, generator=generator).to(device)
    seconds = []
    with cpu_threads(settings.threads):
        # The first steps allocate and are slower than all others.
        for _ in range(steps + 3):
            start = time.perf_counter()
            # Reading the loss waits for a GPU.
            train_step(model, optimizer, ids, settings.learning_rate, settings.clip, dtype).item()
            seconds.append(time.perf_counter() - start)
    typical = sorted(seconds[3:])[steps // 2]
    return settings.batch * settings.context / typical
