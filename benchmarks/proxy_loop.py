"""The proxy's training step beside a plain PyTorch loop over the same model, on one core.

The plain loop has what a first script would have: stock modules (rotary positions by cosines and
sines of two halves, RMSNorm, SwiGLU), all logits at once, the stock cross-entropy and AdamW. All
kinds of step are made in turn in one run, so that what else runs on the machine slows all of them;
times are seconds of the processor, the median and the least of them.

    OMP_NUM_THREADS=1 python benchmarks/proxy_loop.py --json benchmarks/results/proxy_loop.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from mixopt.proxy import Proxy, ProxySettings, architecture
from mixopt.proxy.pack import ProxyPack, pack_step
from mixopt.proxy.shape import ProxyShape
from mixopt.proxy.step import adamw, train_step
from mixopt.proxy.transformer import EMBEDDING_SCALE, EPSILON, rope_table

VOCABULARY, WARM_UP, PACK = 2048, 3, 4
SETTINGS = ProxySettings()
Step = Callable[[torch.Tensor], object]


def fresh(shape: ProxyShape, seed: int = 0) -> Proxy:
    """A proxy with new weights."""
    return Proxy(shape, VOCABULARY, SETTINGS.context, seed=seed)


class PlainBlock(nn.Module):
    """A block of the proxy as stock modules make it."""

    def __init__(self, shape: ProxyShape) -> None:
        super().__init__()
        width, inner = shape.d_model, shape.ffn
        self.heads = shape.heads
        self.norm1, self.norm2 = (nn.RMSNorm(width, eps=EPSILON) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate_up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """``B x T x d`` to the same."""
        heads = self.qkv(self.norm1(x)).view(*x.shape[:2], 3, self.heads, -1)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        q, k = (turned(part, cos, sin) for part in (q, k))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn each pair (i, i + h/2) by its position's angle."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)


class Plain(nn.Module):
    """The proxy's model from stock modules, with the same number of parameters."""

    def __init__(self, shape: ProxyShape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, shape.d_model)
        self.blocks = nn.ModuleList(PlainBlock(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.d_model, eps=EPSILON)
        angles = rope_table(SETTINGS.context, shape.head_dim).angle()
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids ``B x T`` to logits."""
        x = self.embedding(ids) * EMBEDDING_SCALE
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return F.linear(self.norm(x), self.embedding.weight)


def plain(shape: ProxyShape) -> Step:
    """The step of a plain loop."""
    model = Plain(shape)
    assert sum(p.numel() for p in model.parameters()) == sum(
        p.numel() for p in fresh(shape).parameters()
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=SETTINGS.learning_rate)

    def step(ids: torch.Tensor) -> None:
        logits = model(ids[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), SETTINGS.clip)
        optimizer.step()

    return step


def ours(shape: ProxyShape, dtype: torch.dtype) -> Step:
    """The proxy's own step."""
    model = fresh(shape)
    optimizer = adamw(model, SETTINGS)
    rate, clip = SETTINGS.learning_rate, SETTINGS.clip
    return lambda ids: train_step(model, optimizer, ids, rate, clip, dtype)


def packed(shape: ProxyShape) -> Step:
    """A step of several proxies side by side."""
    pack = ProxyPack([fresh(shape, seed) for seed in range(PACK)])
    optimizer = adamw(pack, SETTINGS)
    rate, clip = SETTINGS.learning_rate, SETTINGS.clip
    every = torch.float32
    return lambda ids: pack_step(pack, optimizer, ids.expand(PACK, -1, -1), rate, clip, every)


def compare(parameters: int, repeats: int) -> dict[str, object]:
    """Processor milliseconds of each kind of step for one proxy, and tokens per second."""
    shape = architecture(parameters)
    kinds = {
        "plain": plain(shape),
        "float32": ours(shape, torch.float32),
        "bfloat16": ours(shape, torch.bfloat16),
        f"pack of {PACK}, each": packed(shape),
    }
    generator = torch.Generator().manual_seed(0)
    size = (SETTINGS.batch, SETTINGS.context + 1)
    spent: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(WARM_UP + repeats):
        ids = torch.randint(VOCABULARY, size, generator=generator)
        for kind, step in kinds.items():
            start = time.thread_time()
            step(ids)
            share = PACK if kind.startswith("pack") else 1
            spent[kind].append((time.thread_time() - start) / share)
    rows = {}
    for kind, seconds in spent.items():
        typical, least = statistics.median(seconds[WARM_UP:]), min(seconds[WARM_UP:])
        rows[kind] = {
            "median_ms": round(1e3 * typical, 2),
            "least_ms": round(1e3 * least, 2),
            "times_plain": round(statistics.median(spent["plain"][WARM_UP:]) / typical, 2),
            "times_plain_by_least": round(min(spent["plain"][WARM_UP:]) / least, 2),
        }
    return {"parameters": shape.parameters, "width": shape.d_model, "steps": rows}


def main() -> None:
    """Print a row per size and kind, and keep them if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    sizes = [compare(n, given.repeats) for n in (98_304, 800_000)]
    for size in sizes:
        for kind, row in size["steps"].items():  # type: ignore[attr-defined]
            print(size["parameters"], kind, row)
    if given.json:
        found = {"cpu": torch.backends.cpu.get_cpu_capability(), "sizes": sizes}
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
