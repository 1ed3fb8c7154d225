from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from mixopt.proxy import Proxy, architecture
from mixopt.proxy.transformer import rope_table, rotate, unit_rms

VOCAB = 61


@pytest.fixture
def model():
    """A proxy whose output projections are not zero, so that every path carries signal."""
    model = Proxy(architecture(5000), VOCAB, 16, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for block in model.blocks:
            block.out.normal_(0, 0.3, generator=generator)
            block.down.normal_(0, 0.3, generator=generator)
    return model


def some_ids(rows, columns, seed=0):
    return torch.randint(0, VOCAB, (rows, columns), generator=torch.Generator().manual_seed(seed))


def test_the_shape_counts_the_parameters_that_the_model_has():
    for asked in (1000, 30_000, 98_000):
        shape = architecture(asked)
        assert Proxy(shape, VOCAB, 16, seed=0).parameter_count == shape.parameters


def test_later_tokens_do_not_reach_earlier_logits(model):
    ids = some_ids(3, 16)
    changed = ids.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % VOCAB
    with torch.no_grad():
        before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :9], after[:, :9], rtol=0, atol=1e-6)
    assert (before[:, 9:] - after[:, 9:]).abs().max() > 1e-3


def test_earlier_tokens_reach_later_logits(model):
    ids = some_ids(1, 16)
    changed = ids.clone()
    changed[:, 0] = (changed[:, 0] + 1) % VOCAB
    with torch.no_grad():
        assert (model(ids)[:, -1] - model(changed)[:, -1]).abs().max() > 1e-4


def test_rotary_scores_depend_on_distance_alone():
    q, k = torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(0))
    turns = rope_table(32, 8)
    turned_q, turned_k = (rotate(x.repeat(32, 1, 1), turns)[:, 0] for x in (q, k))
    scores = turned_q @ turned_k.T
    for distance in range(-31, 32):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-5)
    assert scores[0].std() > 0.01


def test_rotation_keeps_lengths():
    x = torch.randn(32, 3, 8, generator=torch.Generator().manual_seed(0))
    turned = rotate(x, rope_table(32, 8))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(turned[0], x[0])


def test_rows_over_their_root_mean_square_have_the_derivative_of_rms_norm():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, 8, generator=generator)
    slope = torch.randn(3, 5, 8, generator=generator)
    found = []
    for norm in (unit_rms, lambda rows: torch.nn.functional.rms_norm(rows, (8,), eps=1e-6)):
        rows = x.clone().requires_grad_()
        out = norm(rows)
        out.backward(slope)
        found.append((out.detach(), rows.grad))
    torch.testing.assert_close(*found)


# 5 rows of 200 make more than one slice of the fused loss; 1 row of 4 less than one.
@pytest.mark.parametrize("size", [(1, 5), (5, 201)])
def test_the_fused_loss_is_cross_entropy_with_its_gradients(size, monkeypatch):
    monkeypatch.setattr("mixopt.proxy.transformer._SLICE", 1)
    bias = torch.randn(VOCAB, generator=torch.Generator().manual_seed(2))
    model = Proxy(architecture(5000), VOCAB, 256, seed=0, bias=bias)
    ids = some_ids(*size)
    fused = model.loss(ids)
    fused.backward()
    grads = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    stock = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    stock.backward()
    torch.testing.assert_close(fused, stock)
    with torch.no_grad():
        torch.testing.assert_close(model.loss(ids), stock)
    for mine, parameter in zip(grads, model.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-4, atol=1e-7)


def test_the_loss_of_a_target_that_is_all_but_impossible_is_finite():
    from mixopt.proxy.transformer import _loss_alone, _slice_loss

    logits, target = torch.tensor([[500.0, 0.0]]), torch.tensor([[1]])
    loss, slope = _slice_loss(logits, target)
    assert loss.item() == pytest.approx(500)
    assert _loss_alone(logits, target).item() == pytest.approx(500)
    assert torch.isfinite(slope).all()


def test_a_fresh_model_guesses(model):
    fresh = Proxy(model.shape, VOCAB, 16, seed=0)
    with torch.no_grad():
        assert fresh.loss(some_ids(8, 17)).item() == pytest.approx(math.log(VOCAB), abs=0.3)


def test_a_fresh_model_with_a_bias_guesses_by_it(model):
    shares = torch.rand(VOCAB, generator=torch.Generator().manual_seed(3)) + 0.01
    bias = (shares / shares.sum()).log()
    fresh = Proxy(model.shape, VOCAB, 16, seed=0, bias=bias)
    ids = some_ids(8, 17)
    with torch.no_grad():
        assert fresh.loss(ids).item() == pytest.approx(-bias[ids[:, 1:]].mean().item(), abs=0.3)
    assert "bias" in fresh.state_dict()
    assert all(p is not fresh.bias for p in fresh.parameters())


def test_bfloat16_products_stay_close(model):
    ids = some_ids(8, 17)
    with torch.no_grad():
        exact = model.loss(ids).item()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model.loss(ids).item()
    assert rough == pytest.approx(exact, abs=0.05)
