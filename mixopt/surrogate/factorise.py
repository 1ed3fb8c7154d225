"""Cholesky factors of covariances that are positive definite in theory only.

Noise-free losses, repeated rows and long lengthscales leave covariances without full rank, and
rounding then makes some eigenvalues negative. The rule, for every covariance of the surrogate:
the matrix as it is; where that has no factor, the least of 1e-10, 1e-9, ... 1e-4 of its mean
diagonal is added; where that does not help, its eigenvalues are cut from below at 1e-6 of the
largest. A matrix that has a factor is never changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mixopt.errors import SurrogateError
from mixopt.laws._arrays import Array

#: Shares of the mean diagonal that are tried.
SHARES = tuple(10.0**k for k in range(-10, -3))
#: Least eigenvalue after cutting, as a share of the largest.
CUT = 1e-6


@dataclass(frozen=True)
class Factor:
    """A batch of lower Cholesky factors.

    Args:
        root: ``batch_shape x n x n``.
        added: ``batch_shape`` mean of what was added to the diagonal, 0 where nothing was.
    """

    root: Tensor
    added: Tensor


def factorise(K: Tensor) -> Factor:
    """Factors of symmetric matrices ``batch_shape x n x n``, differentiable; see the module.

    Raises:
        SurrogateError: If an element is not finite.
    """
    root, failed = torch.linalg.cholesky_ex(K)
    if not bool(failed.any()):
        return Factor(root, torch.zeros(K.shape[:-2], dtype=K.dtype))
    extra = torch.zeros_like(K)
    with torch.no_grad():
        for at in failed.nonzero():
            place = tuple(at.tolist())
            extra[place] = _missing(K[place].detach())
    added = extra.diagonal(dim1=-2, dim2=-1).mean(-1)
    return Factor(torch.linalg.cholesky(K + extra), added)


def inverse(K: Array) -> Array:
    """Inverse of one symmetric matrix ``n x n``.

    Raises:
        SurrogateError: If an element is not finite.
    """
    return np.asarray(torch.cholesky_inverse(factorise(torch.as_tensor(K)).root).numpy())


def _missing(K: Tensor) -> Tensor:
    """What must be added to one matrix for it to have a factor."""
    if not bool(torch.isfinite(K).all()):
        raise SurrogateError(
            f"a covariance must be finite; {int((~torch.isfinite(K)).sum())} of its "
            f"{K.numel()} elements are not",
            "look for losses of absurd size among the trials",
        )
    eye = torch.eye(len(K), dtype=K.dtype)
    size = K.diagonal().abs().mean().clamp_min(torch.finfo(K.dtype).tiny ** 0.5)
    for share in SHARES:
        extra = share * size * eye
        if int(torch.linalg.cholesky_ex(K + extra).info) == 0:
            return extra
    value, vector = torch.linalg.eigh(0.5 * (K + K.T))
    least = CUT * torch.maximum(value.abs().max(), size)
    cut: Tensor = (vector * value.clamp_min(least)) @ vector.T
    return 0.5 * (cut + cut.T) - K
