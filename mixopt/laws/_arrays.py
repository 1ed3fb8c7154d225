"""Small helpers that let one formula serve numpy arrays and torch tensors alike."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def namespace(x: Any) -> Any:
    """The module, numpy or torch, whose functions act on ``x``."""
    return np if isinstance(x, (np.ndarray, np.generic)) else importlib.import_module("torch")


def softmax(x: Any) -> Any:
    """Softmax over the last axis, without overflow."""
    xp = namespace(x)
    e = xp.exp(x - (x.max(-1, keepdims=True) if xp is np else x.amax(-1, keepdim=True)))
    return e / e.sum(-1)[..., None]


def softmax_vjp(p: Array, g: Array) -> Array:
    """Gradient with respect to the logits, given softmax values ``p`` and their gradient ``g``."""
    return np.asarray(p * (g - (p * g).sum(-1, keepdims=True)))
