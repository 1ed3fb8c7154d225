"""Proxies of one shape whose parameters are stacked, so that one kernel computes them all.

On a GPU the step of a small proxy is mostly the launching of kernels; one for K of them costs about
as much as one for one. Notation: K proxies, B sequences of T tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from mixopt.proxy.adamw import AdamW
from mixopt.proxy.shape import ProxyShape
from mixopt.proxy.step import autocast
from mixopt.proxy.transformer import Proxy

_INNER = "model."


class _Hidden(nn.Module):
    """A proxy up to what its unembedding reads."""

    def __init__(self, model: Proxy) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model.hidden(ids)


class ProxyPack:
    """K proxies with stacked parameters (``K x ...`` each).

    Args:
        models: Of one shape and on one device; their parameters are copied.
    """

    def __init__(self, models: Sequence[Proxy]) -> None:
        self._base = _Hidden(models[0])
        self._stacked, _ = stack_module_state([_Hidden(m) for m in models])
        self.size = len(models)

    @property
    def shape(self) -> ProxyShape:
        """Of each proxy."""
        return self._base.model.shape

    def named_parameters(self) -> Iterable[tuple[str, Tensor]]:
        """Stacked parameters by the names in a proxy."""
        return ((name.removeprefix(_INNER), p) for name, p in self._stacked.items())

    def losses(self, ids: Tensor) -> Tensor:
        """Mean cross-entropy (``K``, nats/token).

        Args:
            ids: Sequences of each proxy (``K x B x (T + 1)``), or the same for all
                (``B x (T + 1)``).
        """
        hidden = self._hidden(ids[..., :-1])
        targets = ids[..., 1:].expand(self.size, *ids.shape[-2:-1], -1)
        embedding = self._stacked[f"{_INNER}embedding"]
        # One after the other: the logits of all at once would be K times as large.
        one = self._base.model.loss_of
        return torch.stack([one(hidden[k], embedding[k], targets[k]) for k in range(self.size)])

    def _hidden(self, ids: Tensor) -> Tensor:
        def hidden(parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
            found: Tensor = functional_call(self._base, parameters, (inputs,))
            return found

        # The flash kernel on CPU has no rule for stacked inputs; its parts have.
        plain = contextlib.nullcontext() if ids.is_cuda else sdpa_kernel(SDPBackend.MATH)
        with plain:
            every: Tensor = vmap(hidden, in_dims=(0, 0 if ids.ndim == 3 else None))(
                self._stacked, ids
            )
        return every


def pack_step(
    pack: ProxyPack,
    optimizer: AdamW,
    ids: Tensor,
    rate: float,
    clip: float,
    dtype: torch.dtype,
) -> Tensor:
    """Train each proxy on its sequences ``K x B x (T + 1)``; returns the losses (``K``).

    A proxy whose loss is not finite leaves the others alone.
    """
    optimizer.rate = rate
    with autocast(ids.device, dtype):
        losses = pack.losses(ids)
    torch.autograd.backward(losses.sum())
    _clip_each([p for _, p in pack.named_parameters()], clip)
    optimizer.step()
    optimizer.zero_grad()
    return losses.detach()


def _clip_each(parameters: Sequence[Tensor], clip: float) -> None:
    """As ``torch.nn.utils.clip_grad_norm_``, with a norm for each proxy."""
    slopes = [p.grad.flatten(1) for p in parameters if p.grad is not None]
    norms = torch.stack([s.norm(dim=1) for s in slopes]).norm(dim=0)
    share = (clip / (norms + 1e-6)).clamp(max=1.0)[:, None]
    for slope in slopes:
        slope.mul_(share)
