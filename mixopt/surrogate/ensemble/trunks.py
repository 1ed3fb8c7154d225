"""Trunk effects: runs that share a seed, and with it a trunk, share its run-to-run noise.

Notation: n rows, G trunks, Z the ``n x G`` memberships, m metrics. A loss is
y = f(x) + t_g + e with t_g ~ N(0, s^2) and e ~ N(0, sigma^2) for every metric. The mean of the G
effects cannot be told from f. Left in f, rows have the covariance s^2 T T', T = Z (I - 11'/G),
beside those of f and e; f itself is then less sure by s^2 / G everywhere alike, which is the level:
differences between endings do not contain it, absolute values do.

A few trunks tell little of s^2, so its prior counts: scaled-inverse-chi-squared, with nu = 2
degrees of freedom around sigma^2, as if two further trunks had shown effects as large as the noise.
Were the effects seen, with S the sum of their squares about their mean, then s^2 given S would have
nu + G - 1 degrees of freedom around (nu sigma^2 + S) / (nu + G - 1), which is also where its
posterior density in log s is greatest, and the mean effect, unknown with a flat prior, would have
Student's t distribution with as many degrees of freedom and that variance over G (Gelman et al.,
Bayesian Data Analysis, 3rd ed., 2.6 and 3.2). So s is fitted by maximum a posteriori, and the
level's standard deviation is multiplied by the ratio of the 97.5 % points of t and normal.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import t as student

from mixopt.laws._arrays import Array
from mixopt.laws._lbfgs import Ints
from mixopt.surrogate.ensemble.data import Data, Trunks
from mixopt.surrogate.ensemble.gp import Kernel
from mixopt.surrogate.ensemble.kernel import SHARED_FREEDOM, Prior, fit_hyperparameters
from mixopt.surrogate.factorise import factorise

#: Sd of a trunk's effect over the noise of endings where a single trunk tells nothing of it: runs
#: of one trunk differ by less than whole runs do, since they share data order and warm-up.
_OVER_NOISE = 5.0
#: Correlation of the effects over metrics before trunks tell, and for how many trunks it counts.
_TOGETHER, _TOGETHER_TRUNKS = 0.8, 2.0
_STEPS = 40


def learn_trunks(data: Data, groups: Ints | None, prior: Prior) -> Trunks | None:
    """The trunk effects; None where no two rows share a trunk.

    With several trunks the sd of their effects is the maximum a posteriori beside the kernel's
    hyperparameters; the centred memberships make it a restricted likelihood. One trunk tells
    nothing: its sd is the greater of the spread of its endings and five times their noise. Either
    is widened to Student's t as the module's docstring derives.

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
    freedom = SHARED_FREEDOM + trunks - 1.0
    wide = sd * float(student.ppf(0.975, freedom)) / 1.96
    level = wide[:, None] * wide * _correlation(effect, sd) / trunks
    return Trunks(T, wide, (Z @ effect) * (1.0 - alone[:, None]), alone, level)


def _effects(data: Data, Z: Array, T: Array, prior: Prior) -> tuple[Array, Array]:
    """``m`` sds of the effects, not yet widened, and the ``G x m`` effects."""
    spread = _spread(data, Z)
    unit = np.sqrt(spread * data.scale)
    Y = ((data.Y - data.offset) / unit).T
    plain, live = data.R.shape[1], np.logical_not(data.constant)
    shared = T @ T.T if Z.shape[1] > 1 else None
    beside = (data.beside / unit**2).T
    theta = fit_hyperparameters(data.U, Y, beside, prior, _STEPS, plain=plain, shared=shared)
    kernel = Kernel(torch.as_tensor(theta), data.U.shape[-1], plain=plain)
    if shared is None:
        noise = kernel.noise.sqrt().numpy() * unit
        return live * np.maximum(spread, _OVER_NOISE * noise), np.zeros((1, len(spread)))
    size = np.exp(theta[:, -1])
    x = kernel.embed(*(torch.as_tensor(part) for part in data.rows))
    K = kernel.covariance(x, x) + torch.diag_embed(kernel.noise[:, None].expand(-1, len(Z)))
    K = K + torch.as_tensor(size[:, None, None] ** 2 * shared)
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
