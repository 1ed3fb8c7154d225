from __future__ import annotations

import pytest
import torch

from mixopt.proxy import Proxy, ProxySettings, ProxyShape, architecture
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
    groups = adamw(Proxy(WIDE, 32, 16, seed=0), ProxySettings(weight_decay=0.3)).param_groups
    decayed = {p.shape for group in groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {(384, 128), (128, 128), (688, 128), (128, 344)}
    assert sum(len(group["params"]) for group in groups) == 8


def test_the_gradient_is_clipped():
    model = Proxy(architecture(3000), 32, 16, seed=0)
    seen = []
    optimizer = adamw(model, ProxySettings())
    optimizer.register_step_pre_hook(
        lambda *_: seen.append(sum(p.grad.square().sum() for p in model.parameters()).sqrt().item())
    )
    ids = torch.randint(32, (4, 17), generator=torch.Generator().manual_seed(0))
    train_step(model, optimizer, ids, 1e-2, 1e-3, torch.float32)
    assert seen == [pytest.approx(1e-3, rel=1e-2)]
