from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixopt.errors import TrialError
from mixopt.proxy import ProxyShape, architecture, flops
from mixopt.proxy.shape import TOLERANCE


@settings(deadline=None, max_examples=50)
@given(st.integers(1000, 2_000_000))
def test_every_size_asked_for_is_met_within_three_percent(parameters):
    shape = architecture(parameters)
    assert abs(shape.parameters - parameters) <= TOLERANCE * parameters
    assert shape.head_dim * shape.heads == shape.d_model
    assert shape.head_dim % 2 == 0
    assert 1.5 <= shape.ffn / shape.d_model <= 4.5


@pytest.mark.parametrize("parameters", [10_000_000, 1_000_000_000])
def test_large_sizes_are_met_too(parameters):
    shape = architecture(parameters)
    assert shape.parameters == pytest.approx(parameters, rel=0.01)
    assert 20 <= shape.d_model / shape.layers <= 130


def test_the_size_used_on_the_local_corpus_is_two_layers_of_64():
    shape = architecture(98_000)
    assert (shape.d_model, shape.layers, shape.heads) == (64, 2, 2)


def test_a_size_without_a_shape_is_refused():
    with pytest.raises(TrialError, match="at least about 700 non-embedding parameters; 300"):
        architecture(300)


def test_the_count_is_that_of_the_matrices_and_gains():
    shape = ProxyShape(d_model=8, layers=3, heads=2, ffn=20)
    attention, swiglu, gains = 4 * 8 * 8, 3 * 8 * 20, 2 * 8
    assert shape.parameters == 3 * (attention + swiglu + gains) + 8


def test_flops_are_six_per_parameter_and_token_and_more_for_vocabulary_and_context():
    shape = architecture(98_000)
    least = 6 * shape.parameters * 1000
    cost = flops(shape, 1000, vocab_size=2048, context=128)
    assert cost == least + 6 * 1000 * (64 * 2048 + 2 * 128 * 64)
    assert flops(shape, 2000, vocab_size=2048, context=128) == 2 * cost
