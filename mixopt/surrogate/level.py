"""What moves all predictions alike: added to posteriors and draws that leave it out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mixopt.laws._arrays import Array
from mixopt.surrogate.factorise import factorise


def with_level(posterior: Any, level: Array, outputs: Sequence[int] | None) -> Any:
    """A BoTorch posterior over q points with the level's uncertainty added.

    Args:
        posterior: Gaussian, of m metrics, the level left out.
        level: ``m x m`` covariance of the level.
        outputs: The metrics that the posterior speaks of; None for all.
    """
    if not level.any():
        return posterior
    # BoTorch takes seconds to import; who has a posterior has it.
    from botorch.posteriors.gpytorch import GPyTorchPosterior
    from linear_operator.operators import RootLinearOperator

    found = posterior.distribution
    which = list(range(len(level))) if outputs is None else list(outputs)
    shared = torch.as_tensor(level[np.ix_(which, which)])
    q = found.mean.shape[-2] if len(which) > 1 else found.mean.shape[-1]
    cov = found.covariance_matrix + torch.kron(torch.ones(q, q, dtype=shared.dtype), shared)
    return GPyTorchPosterior(type(found)(found.mean, RootLinearOperator(factorise(cov).root)))


def level_draws(level: Array, num: int, seed: int) -> Tensor:
    """``num x 1 x m`` draws of the level, a covariance ``m x m``."""
    rng = np.random.default_rng([seed, 1])
    root = factorise(torch.as_tensor(level)).root.numpy()
    return torch.as_tensor(rng.standard_normal((num, 1, len(root))) @ root.T)
