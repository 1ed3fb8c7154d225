"""The proxy: a decoder-only transformer with RoPE, RMSNorm, SwiGLU and tied embeddings.

Notation: B sequences of T tokens, width d, H heads of width h, vocabulary V.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixopt.proxy.shape import ProxyShape

EMBEDDING_SD = 0.02
# Tied embeddings must be small for the logits and near unit size for the residual stream.
EMBEDDING_SCALE = 30.0
ROPE_BASE = 10_000.0
BASE_WIDTH = 64
EPSILON = 1e-6
# Logits handled at a time on CPU; 512 kB of float32 stay in the second-level cache.
_SLICE = 1 << 17
_FEWEST_ROWS = 64


def rope_table(context: int, head_dim: int, base: float = ROPE_BASE) -> Tensor:
    """Turns of rotary positions (Su et al., arXiv 2104.09864) as complex numbers, ``T x h/2``."""
    pairs = torch.arange(0, head_dim, 2, dtype=torch.float64)
    angles = torch.outer(torch.arange(context, dtype=torch.float64), base ** (-pairs / head_dim))
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turn each pair (2i, 2i + 1) of float32 ``... x T x n x h`` by its position's angle.

    As one product of complex numbers, which passes over memory once.
    """
    pairs = torch.view_as_complex(x.view(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns[:, None]).flatten(-2)


class _Unit(torch.autograd.Function):
    """Rows over their root mean square, and the factor of each; a composite on CPU in PyTorch.

    The derivative is taken from what came out, in three passes over it.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        squares = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square()
        factor = (squares / x.shape[-1] + EPSILON).rsqrt()
        return x * factor, factor

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        del inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        unit, factor = ctx.saved_tensors
        along = (grads[0] * unit).mean(-1, keepdim=True)
        slope: Tensor = torch.addcmul(grads[0], unit, along, value=-1) * factor
        return slope


def unit_rms(x: Tensor) -> Tensor:
    """Rows of ``... x d`` over their root mean square (RMSNorm without its gain)."""
    found: Tensor = _Unit.apply(x)[0]  # type: ignore[no-untyped-call]
    return found


class Block(nn.Module):
    """Pre-norm attention and SwiGLU; both output projections start at zero."""

    def __init__(self, shape: ProxyShape) -> None:
        super().__init__()
        d, f = shape.d_model, shape.ffn
        self.heads = shape.heads
        self.norm1 = nn.Parameter(torch.ones(d))
        self.qkv = nn.Parameter(torch.empty(3 * d, d))
        self.out = nn.Parameter(torch.zeros(d, d))
        self.norm2 = nn.Parameter(torch.ones(d))
        self.gate_up = nn.Parameter(torch.empty(2 * f, d))
        self.down = nn.Parameter(torch.zeros(d, f))

    def forward(self, x: Tensor, turns: Tensor) -> Tensor:
        """``B x T x d`` to the same."""
        # The gain of a norm goes into the smaller of the two: the matrix behind it.
        heads = F.linear(unit_rms(x), self.qkv * self.norm1)
        heads = heads.view(*x.shape[:2], 3, self.heads, -1)
        if not x.is_cuda:
            # On CPU only the products gain from bfloat16; attention's backward is 5 times slower.
            heads = heads.float()
        turned, v = torch.split(heads, [2, 1], dim=2)
        q, k = rotate(turned.flatten(2, 3).float(), turns).to(v.dtype).chunk(2, dim=2)
        with torch.autocast("cpu", enabled=False):
            mixed = F.scaled_dot_product_attention(
                q.transpose(1, 2), k.transpose(1, 2), v.squeeze(2).transpose(1, 2), is_causal=True
            )
        x = x + F.linear(mixed.transpose(1, 2).flatten(2), self.out)
        inner = F.linear(unit_rms(x), self.gate_up * self.norm2)
        if not x.is_cuda:
            inner = inner.float()
        gate, up = inner.chunk(2, dim=-1)
        return x + F.linear(F.silu(gate) * up, self.down)


class Proxy(nn.Module):
    """The whole model.

    Args:
        shape: Its shape.
        vocab_size: V.
        context: Longest T.
        seed: Of the initial weights; the global random state is neither read nor moved.
        bias: Fixed part of the logits (``V``), such as log token frequencies: without it the first
            tenth of a short run goes into learning them, and how well differs from seed to seed.
            None for zeros.
    """

    turns: Tensor
    bias: Tensor

    def __init__(
        self,
        shape: ProxyShape,
        vocab_size: int,
        context: int,
        seed: int,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Parameter(torch.empty(vocab_size, shape.d_model))
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.Parameter(torch.ones(shape.d_model))
        self.register_buffer("turns", rope_table(context, shape.head_dim), persistent=False)
        self.register_buffer("bias", torch.zeros(vocab_size) if bias is None else bias)
        self._initialise(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        self.embedding.normal_(0, EMBEDDING_SD, generator=generator)
        for block in self.blocks:
            for name in ("qkv", "gate_up"):
                matrix = getattr(block, name)
                matrix.normal_(0, 1 / math.sqrt(matrix.shape[1]), generator=generator)

    @property
    def parameter_count(self) -> int:
        """Non-embedding parameters."""
        return sum(p.numel() for p in self.parameters()) - self.embedding.numel()

    def hidden(self, ids: Tensor) -> Tensor:
        """Token ids ``B x T`` to what the unembedding reads, ``B x T x d``."""
        x = F.embedding(ids, self.embedding) * EMBEDDING_SCALE
        for block in self.blocks:
            x = block(x, self.turns[: ids.shape[1]])
        # Logits keep their size as the width grows (muP output multiplier, arXiv 2203.03466).
        scale = BASE_WIDTH / self.shape.d_model
        return unit_rms(x) * (self.norm * scale)

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids ``B x T`` to logits ``B x T x V``."""
        return F.linear(self.hidden(ids), self.embedding) + self.bias

    def loss(self, ids: Tensor) -> Tensor:
        """Mean cross-entropy (nats/token) of sequences ``B x (T + 1)``."""
        return self.loss_of(self.hidden(ids[:, :-1]), self.embedding, ids[:, 1:])

    def loss_of(self, hidden: Tensor, embedding: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of targets ``B x T`` after what the unembedding reads."""
        hidden, targets = hidden.flatten(0, 1), targets.flatten()
        if hidden.is_cuda:
            logits = F.linear(hidden, embedding).float() + self.bias
            return F.cross_entropy(logits, targets)
        loss: Tensor = _TiedCrossEntropy.apply(  # type: ignore[no-untyped-call]
            hidden, embedding, self.bias, targets, torch.is_grad_enabled()
        )
        return loss


class _TiedCrossEntropy(torch.autograd.Function):
    """Unembedding and cross-entropy in one, a few rows of the ``n x V`` logits at a time.

    The gradients are made on the way forward, while a slice of the logits lies in the cache: half
    of a small proxy's time is spent here, and the stock path scans the whole array five times.
    Under autocast the three products are made in its type, all else in float32.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, embedding: Tensor, bias: Tensor, targets: Tensor, wanted: bool
    ) -> Tensor:
        # Autocast does not reach products that write into a given tensor, hence the casts by hand.
        low = torch.is_autocast_enabled("cpu")
        kind = torch.get_autocast_dtype("cpu") if low else hidden.dtype
        states, weight = hidden.to(kind), embedding.to(kind)
        d_states, d_embedding = torch.empty_like(states), torch.zeros_like(embedding)
        rows = max(_FEWEST_ROWS, _SLICE // len(embedding))
        losses = []
        with torch.autocast("cpu", enabled=False):
            for start in range(0, len(states), rows):
                part = slice(start, start + rows)
                logits = (states[part] @ weight.T).float().add_(bias)
                if not wanted:
                    losses.append(_loss_alone(logits, targets[part, None]))
                else:
                    loss, slope = _slice_loss(logits, targets[part, None])
                    losses.append(loss)
                    slope = slope.to(kind)
                    torch.mm(slope, weight, out=d_states[part])
                    if low:
                        d_embedding += slope.T @ states[part]
                    else:
                        d_embedding.addmm_(slope.T, states[part])
        if wanted:
            ctx.save_for_backward(d_states, d_embedding)
        return torch.cat(losses).mean()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        d_states, d_embedding = ctx.saved_tensors
        scale = grads[0] / len(d_states)
        return d_states * scale, d_embedding * scale, None, None, None


def _slice_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Loss (``r x 1``) and its gradient (``r x V``) of logits ``r x V`` at targets ``r x 1``."""
    chances = logits.softmax(dim=1)
    # The largest chance is at least 1/V: its logarithm is safe, that of others may underflow.
    top = logits.amax(dim=1, keepdim=True)
    normaliser = top - chances.amax(dim=1, keepdim=True).log()
    loss = normaliser - logits.gather(1, targets)
    return loss, chances.scatter_add_(1, targets, chances.new_full(targets.shape, -1.0))


def _loss_alone(logits: Tensor, targets: Tensor) -> Tensor:
    """Loss (``r x 1``) of logits ``r x V``, which are overwritten, at targets ``r x 1``."""
    own, top = logits.gather(1, targets), logits.amax(dim=1, keepdim=True)
    return logits.sub_(top).exp_().sum(dim=1, keepdim=True).log_() + (top - own)
