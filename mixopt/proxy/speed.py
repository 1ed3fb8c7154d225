"""How fast a proxy's steps are here and now, and in which type its products are faster."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import torch

from mixopt.proxy.settings import ProxySettings
from mixopt.proxy.shape import ProxyShape
from mixopt.proxy.step import adamw, cpu_threads, train_step
from mixopt.proxy.transformer import Proxy
from mixopt.steps import step

Products = Literal["float32", "bfloat16"]
_TORCH: dict[Products, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# The first steps allocate and are slower than all others.
_WARM_UP = 3
_PROBE_STEPS = 12
# A gain below this may be chance, and trials of one study had better have one type.
_LEAST_GAIN = 1.2
# Largest difference of the two types' losses, nats/token: a tenth of what seeds differ by.
_SAME_LOSS = 1e-2


@dataclass
class _Timed:
    """Steps of a fresh proxy on random tokens, with the seconds and the loss of each."""

    shape: ProxyShape
    settings: ProxySettings
    vocab_size: int
    dtype: torch.dtype
    clock: Callable[[], float]
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        device = self.settings.resolved_device()
        size = (self.settings.batch, self.settings.context + 1)
        generator = torch.Generator().manual_seed(0)
        self._ids = torch.randint(self.vocab_size, size, generator=generator).to(device)
        model = Proxy(self.shape, self.vocab_size, self.settings.context, seed=0)
        self._model = model.to(device)
        self._optimizer = adamw(self._model, self.settings)

    def step(self) -> None:
        """Train one step; reading its loss waits for a GPU."""
        start, given = self.clock(), self.settings
        loss = train_step(
            self._model, self._optimizer, self._ids, given.learning_rate, given.clip, self.dtype
        ).item()
        self.seconds.append(self.clock() - start)
        self.losses.append(loss)


@step("timing the proxy")
def tokens_per_second(
    shape: ProxyShape, settings: ProxySettings, vocab_size: int, *, steps: int = 10
) -> float:
    """Training tokens per second here and now: the median of some steps, evaluation apart."""
    dtype = products_dtype(shape, settings, vocab_size, settings.resolved_device())
    timed = _Timed(shape, settings, vocab_size, dtype, time.perf_counter)
    _run([timed], settings, steps)
    return settings.batch * settings.context / sorted(timed.seconds[_WARM_UP:])[steps // 2]


def products_dtype(
    shape: ProxyShape,
    settings: ProxySettings,
    vocab_size: int,
    device: torch.device,
    on_cpu: Products | None = None,
) -> torch.dtype:
    """The type that matrix products are done in.

    Args:
        shape: Of the proxy.
        settings: How to train.
        vocab_size: Entries of the vocabulary.
        device: The proxy is trained on.
        on_cpu: What ``auto`` stands for on a CPU; None to try it out.
    """
    if settings.dtype != "auto":
        return _TORCH[settings.dtype]
    if device.type == "cuda":
        return torch.bfloat16
    return _TORCH[on_cpu or faster_on_cpu(shape, settings, vocab_size)]


@lru_cache
def faster_on_cpu(shape: ProxyShape, settings: ProxySettings, vocab_size: int) -> Products:
    """bfloat16 where it is clearly faster on this CPU and gives the same losses, else float32.

    Twelve steps each are timed in turn, in seconds of the processor; asked again, the process
    remembers. Machines that are alike may differ where the gain is near the limit: let one of them
    decide for all trials that are to be compared.
    """
    given = settings.model_copy(update={"device": "cpu"})
    exact, low = (
        _Timed(shape, given, vocab_size, dtype, time.thread_time) for dtype in _TORCH.values()
    )
    _run([exact, low], settings, _PROBE_STEPS)
    # The least time is the one that nothing else on the machine has made longer.
    gain = min(exact.seconds) / min(low.seconds)
    apart = max(abs(a - b) for a, b in zip(exact.losses, low.losses, strict=True))
    return "bfloat16" if gain >= _LEAST_GAIN and apart <= _SAME_LOSS else "float32"


def _run(timed: Sequence[_Timed], settings: ProxySettings, steps: int) -> None:
    """Steps in turn, so that what slows the machine down slows all of them alike."""
    with cpu_threads(settings.threads):
        for _ in range(_WARM_UP + steps):
            for each in timed:
                each.step()
