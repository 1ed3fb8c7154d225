import pytest
import torch

from mixopt.proxy import ProxySettings, architecture, faster_on_cpu, tokens_per_second
from mixopt.proxy import speed as module
from mixopt.proxy.speed import products_dtype

SMALL = ProxySettings(context=16, batch=2)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_speed_is_measured_and_leaves_the_random_state_alone():
    state = torch.get_rng_state()
    assert tokens_per_second(architecture(3000), SMALL, 32, steps=3) > 0
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("gain", "apart", "found"),
    [(1.5, 0.0, "bfloat16"), (1.1, 0.0, "float32"), (1.5, 0.1, "float32")],
)
def test_bfloat16_must_be_faster_and_end_alike(monkeypatch, gain, apart, found):
    """Steps whose times and losses are known."""

    def step(timed):
        low = timed.dtype == torch.bfloat16
        timed.seconds.append(1 / gain if low else 1.0)
        timed.losses.append(2.0 + apart * low)

    monkeypatch.setattr(module._Timed, "step", step)
    faster_on_cpu.cache_clear()
    assert faster_on_cpu(architecture(3000), SMALL, 32) == found
    faster_on_cpu.cache_clear()


def test_what_was_decided_is_used_where_nothing_is_asked_for(monkeypatch):
    def refuse(*_):
        raise AssertionError("nothing is to be tried out")

    monkeypatch.setattr(module, "faster_on_cpu", refuse)
    shape = architecture(3000)
    low = SMALL.model_copy(update={"dtype": "bfloat16"})
    assert products_dtype(shape, SMALL, 32, CPU, on_cpu="bfloat16") == torch.bfloat16
    assert products_dtype(shape, SMALL, 32, CPU, on_cpu="float32") == torch.float32
    assert products_dtype(shape, SMALL, 32, CUDA, on_cpu="float32") == torch.bfloat16
    assert products_dtype(shape, low, 32, CPU, on_cpu="float32") == torch.bfloat16
