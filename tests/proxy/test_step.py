from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from mixopt.proxy import Proxy, ProxySettings, ProxyShape, architecture
from mixopt.proxy.adamw import AdamW
from mixopt.proxy.step import adamw, matrix_rate, train_step

WIDE = ProxyShape(d_model=128, layers=1, heads=2, ffn=344)


def test_a_wider_proxy_moves_its_matrices_less_and_its_embedding_as_much():
    model = Proxy(WIDE, 32, 16, seed=0)
    optimizer = adamw(model, ProxySettings(weight_decay=0.0))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    ids = torch.randint(32, (4, 17), generator=torch.Generator().manual_seed(0))
    train_step(model, optimizer, ids, 1e-2, 1.0, torch.float32)
    moved = {n: (p - before[n]).abs().max().item() for n, p in model.named_parameters()}
    # The first step of Adam moves every weight with a gradient by its rate.
    assert moved["embedding"] == pytest.approx(1e-2, rel=0.01)
    assert moved["blocks.0.down"] == pytest.approx(5e-3, rel=0.01)


def test_the_rate_of_matrices_falls_with_width_and_depth():
    def rate(d_model, layers):
        shape = ProxyShape(d_model=d_model, layers=layers, heads=2, ffn=16)
        return matrix_rate(shape)

    assert [rate(64, 1), rate(64, 2), rate(128, 2), rate(128, 4)] == [1.0, 1.0, 0.5, 0.25]


def test_only_matrices_of_the_blocks_decay():
    groups = adamw(Proxy(WIDE, 32, 16, seed=0), ProxySettings(weight_decay=0.3)).groups
    decayed = {p.shape for group in groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {(384, 128), (128, 128), (688, 128), (128, 344)}
    assert sum(len(group["params"]) for group in groups) == 8


def test_the_gradient_is_clipped(monkeypatch):
    model = Proxy(architecture(3000), 32, 16, seed=0)
    seen = []
    optimizer = adamw(model, ProxySettings())
    monkeypatch.setattr(
        optimizer,
        "step",
        lambda: seen.append(sum(p.grad.square().sum() for p in model.parameters()).sqrt().item()),
    )
    ids = torch.randint(32, (4, 17), generator=torch.Generator().manual_seed(0))
    train_step(model, optimizer, ids, 1e-2, 1e-3, torch.float32)
    assert seen == [pytest.approx(1e-3, rel=1e-2)]


def groups_of(*sizes):
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(n, 3, generator=generator, requires_grad=True) for n in sizes]
    return [
        {"params": [p], "weight_decay": 0.1 * k, "multiplier": 1.0 / (k + 1)}
        for k, p in enumerate(made)
    ]


def stepped(optimizer, groups, steps):
    for at in steps:
        for group in groups:
            for p in group["params"]:
                p.grad = torch.sin(p.detach() + at)
        optimizer.step()
        optimizer.zero_grad()
    return [p.detach().clone() for group in groups for p in group["params"]]


def test_steps_are_those_of_pytorch_and_go_on_from_its_state():
    mine, theirs, resumed = (groups_of(4, 5) for _ in range(3))
    ours = AdamW(mine, 0.01, (0.8, 0.95))
    pytorch = torch.optim.AdamW(
        [{**g, "lr": 0.01 * g["multiplier"]} for g in theirs], betas=(0.8, 0.95)
    )
    torch.testing.assert_close(stepped(ours, mine, range(5)), stepped(pytorch, theirs, range(5)))
    later = AdamW(resumed, 0.01, (0.8, 0.95))
    later.load_state_dict(pytorch.state_dict())
    for group, other in zip(resumed, theirs, strict=True):
        group["params"][0].data = other["params"][0].detach().clone()
    torch.testing.assert_close(
        stepped(later, resumed, range(5, 9)), stepped(pytorch, theirs, range(5, 9))
    )


def test_a_step_does_not_load_the_compiler():
    """Two seconds of every worker's start."""
    code = """
import sys, torch
from mixopt.proxy import Proxy, ProxySettings, architecture
from mixopt.proxy.adamw import AdamW
from mixopt.proxy.step import adamw, train_step
model = Proxy(architecture(3000), 32, 16, seed=0)
train_step(model, adamw(model, ProxySettings()), torch.ones(2, 17).long(), .01, 1., torch.float32)
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
