"""A keyed order of the numbers below n, computed place by place.

A Feistel network is a bijection of the numbers of 2k bits whatever its round function; where its
value is not below n it is applied again, until it is (Black and Rogaway, "Ciphers with arbitrary
finite domains", CT-RSA 2002). So the order of a billion windows costs neither memory nor time until
one asks for it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 6
#: Bits of either half at least: orders of narrower networks are visibly uneven.
_LEAST_HALF = 4
_MASK = (1 << 64) - 1


def permuted(places: NDArray[np.int64], size: int, key: int) -> NDArray[np.int64]:
    """Which number stands at each place of an order of ``0 .. size - 1``.

    Args:
        places: Any shape, each from 0 to ``size - 1``.
        size: Numbers in the order.
        key: Decides the order; any integer of up to 128 bits.

    Returns:
        The same shape. All places together give every number once.
    """
    half = max((int(size - 1).bit_length() + 1) // 2, _LEAST_HALF)
    keys = _mixed(np.array([(key >> shift) & _MASK for shift in (0, 64)], dtype=np.uint64))
    out = places.astype(np.uint64).ravel()
    waiting = np.arange(len(out))
    while len(waiting):
        out[waiting] = _feistel(out[waiting], half, keys)
        waiting = waiting[out[waiting] >= size]
    return out.astype(np.int64).reshape(places.shape)


def _feistel(values: NDArray[np.uint64], half: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    bits, low = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = values >> bits, values & low
    for number in range(_ROUNDS):
        salt = keys[number % 2] + np.uint64(number)
        left, right = right, left ^ (_mixed(right ^ salt) & low)
    return np.asarray((left << bits) | right)


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output function (Steele, Lea and Flood, OOPSLA 2014), modulo 2**64."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
