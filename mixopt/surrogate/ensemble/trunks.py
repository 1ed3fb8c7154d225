"""Trunk effects: runs that share a seed, and with it a trunk, share its run-to-run noise.

Notation: n rows, G trunks, Z the ``n x G`` memberships, m metrics. A loss is
y = f(x) + t_g + e with t_g ~ N(0, s^2) for every metric. The mean of the G effects cannot be told
from f. Left in f, rows have the covariance s^2 T T', T = Z (I - 11'/G), beside those of f and e;
f itself is then less sure by s^2 / G everywhere alike, which is the level: differences between
endings do not contain it, absolute values do.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import t as student

from mixopt.laws._arrays import Array
from mixopt.laws._lbfgs import Ints
from mixopt.surrogate.ensemble.data import Data, Trunks
from mixopt.surrogate.ensemble.gp import Kernel
from mixopt.surrogate.ensemble.kernel import Prior, fit_hyperparameters
from mixopt.surrogate.factorise import factorise

#: Prior sd of a trunk effect over the noise of endings: runs of one trunk differ by less than whole
#: runs do, since they share data order and warm-up.
_OVER_NOISE = 5.0
#: Degrees of freedom of the effects' sd with one trunk and with two, where its prior adds to them.
_FEW = {1: 2.0, 2: 1.5}
#: Correlation of the effects over metrics before trunks tell, and for how many trunks it counts.
_TOGETHER, _TOGETHER_TRUNKS = 0.8, 2.0
_STEPS = 40


def learn_trunks(data: Data, groups: Ints | None, prior: Prior) -> Trunks | None:
    """The trunk effects; None where no two rows share a trunk.

    With several trunks the sd of their effects is the maximum a posteriori beside the kernel's
    hyperparameters, under a log-normal prior around the spread of the endings of one trunk, or the
    noise that a fit without trunks finds where that is less; the
    centred memberships make it a restricted likelihood. One trunk tells nothing: its sd is the
    greater of that spread and five times the noise of endings. Either is widened by the ratio of
    the 97.5 % points of Student's t, with G - 1 degrees of freedom (2 for one
    trunk and 1.5 for two, where the prior counts), and the normal distribution.

    Args:
        data: The rows.
        groups: ``n`` numbers, equal for rows of one trunk.
        prior: Priors of the kernel's hyperparameters.
    """
    if groups is None:
        return None
    _, number, count = np.unique(groups, return_inverse=True, return_counts=True)
    if (count == 1).all():
        return None
    Z = np.eye(len(count))[number.ravel()]
    T = Z - Z.mean(1, keepdims=True)
    sd, effect = _effects(data, Z, T, prior)
    alone = (count == 1)[number.ravel()].astype(float)
    trunks = len(count)
    freedom = _FEW.get(trunks, trunks - 1.0)
    wide = sd * float(student.ppf(0.975, freedom)) / 1.96
    level = wide[:, None] * wide * _correlation(effect, sd) / trunks
    return Trunks(T, wide, (Z @ effect) * (1.0 - alone[:, None]), alone, level)


def _effects(data: Data, Z: Array, T: Array, prior: Prior) -> tuple[Array, Array]:
    """``m`` sds of the effects, not yet widened, and the ``G x m`` effects."""
    spread = _spread(data, Z)
    unit = np.sqrt(spread * data.scale)
    Y = ((data.Y - data.offset) / unit).T
    given = (data.U, Y, np.zeros_like(Y), prior, _STEPS)
    plain, live = data.R.shape[1], np.logical_not(data.constant)
    alone = Kernel(
        torch.as_tensor(fit_hyperparameters(*given, plain=plain)), data.U.shape[-1], plain=plain
    )
    noise = alone.noise.sqrt().numpy() * unit
    if Z.shape[1] == 1:
        return live * np.maximum(spread, _OVER_NOISE * noise), np.zeros((1, len(spread)))
    # Where groups differ in their mixtures too, most of the spread is no noise; and a fit without
    # groups takes what they share for noise.
    usual = np.minimum(spread, noise)
    shared = (usual / unit)[:, None, None] ** 2 * (T @ T.T)
    theta = fit_hyperparameters(*given, plain=plain, shared=shared)
    kernel = Kernel(torch.as_tensor(theta), data.U.shape[-1], plain=plain)
    x = kernel.embed(*(torch.as_tensor(part) for part in data.rows))
    size = np.exp(theta[:, -1]) * usual / unit
    K = kernel.covariance(x, x) + torch.diag_embed(kernel.noise[:, None].expand(-1, len(Z)))
    K = K + torch.as_tensor(size[:, None, None] ** 2 * (T @ T.T))
    solved = torch.cholesky_solve(torch.as_tensor(Y)[..., None], factorise(K).root)[..., 0].numpy()
    return live * size * unit, live * (size**2 * unit * (T.T @ solved.T))


def _spread(data: Data, Z: Array) -> Array:
    """``m`` pooled sds of the endings of one trunk, at least a hundredth of those of all rows."""
    rest = data.Y - Z @ (Z.T @ data.Y / Z.sum(0)[:, None])
    pooled = np.sqrt((rest**2).sum(0) / (len(Z) - Z.shape[1]))
    return np.asarray(np.maximum(pooled, 0.01 * data.scale))


def _correlation(effect: Array, sd: Array) -> Array:
    """``m x m`` correlation of the effects ``G x m`` over metrics, held to a common one."""
    trunks, m = effect.shape
    z = effect / np.maximum(np.sqrt((effect**2).sum(0)), 1e-12)
    held = _TOGETHER + (1.0 - _TOGETHER) * np.eye(m)
    R = ((trunks - 1) * (z.T @ z) + _TOGETHER_TRUNKS * held) / (trunks - 1 + _TOGETHER_TRUNKS)
    np.fill_diagonal(R, 1.0)
    return np.asarray(np.where((sd > 0)[:, None] & (sd > 0), R, np.eye(m)))
