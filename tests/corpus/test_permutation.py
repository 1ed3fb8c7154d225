"""The keyed order of windows: each once, another order for each key, at no cost in memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from mixopt.corpus.permutation import permuted


@given(st.integers(1, 3000), st.integers(0, 2**128 - 1))
def test_every_number_stands_at_one_place(size, key):
    assert np.array_equal(np.sort(permuted(np.arange(size), size, key)), np.arange(size))


@pytest.mark.parametrize("size", [2**10, 2**10 + 1, 4**6 - 1, 4**6])
def test_sizes_beside_a_power_of_two_are_no_exception(size):
    assert len(set(permuted(np.arange(size), size, 5).tolist())) == size


def test_a_place_can_be_asked_for_alone_whatever_the_size():
    size = 3 * 10**12
    some = np.array([[0, 1], [size // 2, size - 1]])
    found = permuted(some, size, 7)
    assert found.shape == some.shape
    assert ((found >= 0) & (found < size)).all()
    assert permuted(some[1], size, 7).tolist() == found[1].tolist()


def test_any_number_may_stand_anywhere():
    size, keys = 7, range(3500)
    orders = np.stack([permuted(np.arange(size), size, key * 2**64 + 11) for key in keys])
    for place in range(size):
        counts = np.bincount(orders[:, place], minlength=size)
        assert chisquare(counts).pvalue > 1e-4


def test_orders_of_two_keys_and_neighbours_of_one_are_unrelated():
    size = 4000
    one, other = (permuted(np.arange(size), size, key) for key in (1, 2))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.06
    assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 0.06
    assert (one == other).sum() < 12
