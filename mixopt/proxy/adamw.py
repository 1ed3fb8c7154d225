"""AdamW by PyTorch's fused step, without the optimizer class around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.optim.adamw import adamw as fused_step

_EPS = 1e-8


class Group(TypedDict):
    """Parameters that are stepped alike.

    Attributes:
        params: They have gradients when a step is made.
        weight_decay: Per unit of the learning rate.
        multiplier: Of the learning rate.
    """

    params: list[Tensor]
    weight_decay: float
    multiplier: float


class AdamW:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101), whose state is that of `torch.optim.AdamW`.

    That class imports PyTorch's compiler when it is made: some two seconds of processor time and
    800 modules in every worker that starts.

    Args:
        groups: Of parameters.
        rate: Learning rate, before a group's multiplier.
        betas: Decay of the first and second moments.
    """

    def __init__(self, groups: Sequence[Group], rate: float, betas: tuple[float, float]) -> None:
        self.groups, self.rate, self._betas = list(groups), rate, betas
        self._moments = [
            [
                (torch.zeros((), device=p.device), torch.zeros_like(p), torch.zeros_like(p))
                for p in g
            ]
            for g in (group["params"] for group in groups)
        ]

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter against its gradient."""
        for group, moments in zip(self.groups, self._moments, strict=True):
            steps, first, second = (list(each) for each in zip(*moments, strict=True))
            fused_step(
                group["params"],
                [p.grad for p in group["params"] if p.grad is not None],
                first,
                second,
                [],
                steps,
                fused=True,
                amsgrad=False,
                beta1=self._betas[0],
                beta2=self._betas[1],
                lr=self.rate * group["multiplier"],
                weight_decay=group["weight_decay"],
                eps=_EPS,
                maximize=False,
            )

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for group in self.groups:
            for parameter in group["params"]:
                parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """The moments of each parameter, numbered over all groups."""
        flat = [moment for moments in self._moments for moment in moments]
        names = ("step", "exp_avg", "exp_avg_sq")
        return {"state": {k: dict(zip(names, m, strict=True)) for k, m in enumerate(flat)}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take moments that were kept before the same parameters in the same groups."""
        own = self.state_dict()["state"]
        for k, kept in state["state"].items():
            for name, moment in own[k].items():
                moment.copy_(kept[name])
