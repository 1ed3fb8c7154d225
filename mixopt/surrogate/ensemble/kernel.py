"""Hyperparameters of the Gaussian processes, one per metric, all metrics at once.

k(x, x') = a^2 Matern52(|z - z'|) + b^2 Matern52(D / l2) + a wide constant, with
z = features(x)^gamma / l (gamma below 1 stretches the corners of the simplex, where a little of an
absent domain changes the loss most; searched learning rates are not stretched) and, where a shared
law was fitted, D the distance between its class masses. Maximum a posteriori with log-normal priors
and hand-written gradients.
Order of the log hyperparameters: ``[l_1..l_f, gamma, a, sigma]`` and then ``[b, l2]``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mixopt.laws._arrays import Array
from mixopt.laws._lbfgs import Ints, minimise

CONSTANT = 4.0
JITTER = 1e-6
TINY = 1e-9
#: Noise variance, in standardised units, under which a row says nothing.
UNSEEN = 1e6
#: Degrees of freedom of the prior of what groups of rows share, whose scale is the rows' own noise.
SHARED_FREEDOM = 2.0
#: A fit of hyperparameters ends when a step gains less than this share of the log posterior.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Prior:
    """Centres and spreads of the normal priors on the log hyperparameters.

    The lengthscale's centre grows with the square root of the number of features, so that typical
    distances stay of order one whatever the dimension.
    """

    lengthscale: tuple[float, float] = (-0.3, 1.0)
    gamma: tuple[float, float] = (-1.0, 0.3)
    scale: tuple[float, float] = (0.0, 1.0)
    noise: tuple[float, float] = (-2.0, 1.0)
    law_scale: tuple[float, float] = (0.0, 1.0)
    law_lengthscale: tuple[float, float] = (0.8, 0.5)


def prior_vectors(features: int, prior: Prior, *, law: bool) -> tuple[Array, Array]:
    """Mean and sd of the log hyperparameters, with or without the law's part."""
    centre = prior.lengthscale[0] + 0.5 * np.log(features)
    tail = [prior.gamma, prior.scale, prior.noise]
    tail += [prior.law_scale, prior.law_lengthscale] if law else []
    mean = np.array([centre] * features + [t[0] for t in tail])
    sd = np.array([prior.lengthscale[1]] * features + [t[1] for t in tail])
    return mean, sd


def matern52(sq: Array) -> tuple[Array, Array]:
    """Matern-5/2 correlation of squared distances and its derivative in them."""
    r = np.sqrt(5.0 * np.maximum(sq, 0.0))
    e = np.exp(-r)
    return (1.0 + r + r * r / 3.0) * e, -(5.0 / 6.0) * (1.0 + r) * e


def squared_distance(a: Array, b: Array) -> Array:
    """``... x n x k`` squared distances of ``... x n x f`` and ``... x k x f``."""
    aa, bb = (a * a).sum(-1), (b * b).sum(-1)
    return np.asarray(aa[..., :, None] + bb[..., None, :] - 2.0 * a @ b.swapaxes(-1, -2))


def _warp(U: Array, theta: Array, plain: int) -> tuple[Array, Array, Array]:
    """Scaled features z (``m x n x f``), log U, and gamma (``m``); 0 stays 0.

    The last ``plain`` features are not stretched: their log U is 0, so that gamma has no slope.
    """
    f = U.shape[-1]
    log_u = np.log(np.maximum(U, TINY))
    gamma = np.exp(theta[:, f])
    z = np.where(U > TINY, np.exp(gamma[:, None, None] * log_u), 0.0)
    if plain:
        log_u[:, f - plain :] = 0.0
        z[..., f - plain :] = U[:, f - plain :]
    return z * np.exp(-theta[:, None, :f]), log_u, gamma


class GPObjective:
    """Negative log marginal likelihood plus negative log prior, with its gradient.

    Args:
        U: ``n x f`` features in [0, 1].
        Z: ``B x n`` standardised losses, one row per problem (metric, or metric and fold).
        fixed: ``B x n`` extra noise variances; :data:`UNSEEN` hides a row from a problem.
        prior: Priors of the hyperparameters.
        law: ``B x n x n`` squared distances of class masses, or None.
        plain: How many of the last features are not stretched.
        shared: ``n x n`` covariance of what groups of rows share, times a variance s^2 whose log sd
            is the last hyperparameter; None for none. Its prior is scaled-inverse-chi-squared, with
            :data:`SHARED_FREEDOM` degrees of freedom around the noise sigma^2.
    """

    def __init__(
        self,
        U: Array,
        Z: Array,
        fixed: Array,
        prior: Prior,
        law: Array | None = None,
        plain: int = 0,
        shared: Array | None = None,
    ) -> None:
        self.U, self.Z, self.fixed, self.law, self.plain = U, Z, fixed, law, plain
        self.mean, self.sd = prior_vectors(U.shape[-1], prior, law=law is not None)
        self.shared = shared
        if shared is not None:
            # Its prior is not normal, and is added below; the fit starts where s is sigma.
            self.mean, self.sd = np.append(self.mean, self.mean[-1]), np.append(self.sd, np.inf)

    def __call__(self, theta: Array, which: Ints) -> tuple[Array, Array]:
        """Values ``b`` and gradients ``b x p`` of the problems ``which``."""
        f, n = self.U.shape[-1], self.U.shape[0]
        z, log_u, gamma = _warp(self.U, theta, self.plain)
        corr, slope = matern52(squared_distance(z, z))
        a = np.exp(2.0 * theta[:, f + 1])[:, None, None]
        noise = np.exp(2.0 * theta[:, f + 2])
        K = a * corr + CONSTANT
        K[:, np.arange(n), np.arange(n)] += noise[:, None] + JITTER + self.fixed[which]
        if self.law is not None:
            b = np.exp(2.0 * theta[:, f + 3])[:, None, None]
            sq = self.law[which] * np.exp(-2.0 * theta[:, f + 4])[:, None, None]
            law_corr, law_slope = matern52(sq)
            K += b * law_corr
        if self.shared is not None:
            common = np.exp(2.0 * theta[:, -1])[:, None, None] * self.shared
            K += common
        inv, logdet = inverse(K)
        alpha = (inv @ self.Z[which][..., None])[..., 0]
        dev = (theta - self.mean) / self.sd
        value = 0.5 * (self.Z[which] * alpha).sum(1) + 0.5 * logdet + 0.5 * (dev**2).sum(1)
        G = 0.5 * (inv - alpha[:, :, None] * alpha[:, None, :])
        Q = G * a * slope
        zdz = z * 4.0 * (Q.sum(2)[..., None] * z - Q @ z)
        grad = dev / self.sd
        grad[:, :f] -= zdz.sum(1)
        grad[:, f] += gamma * (zdz * log_u).sum((1, 2))
        grad[:, f + 1] += 2.0 * (G * a * corr).sum((1, 2))
        grad[:, f + 2] += 2.0 * noise * np.trace(G, axis1=1, axis2=2)
        if self.law is not None:
            grad[:, f + 3] += 2.0 * (G * b * law_corr).sum((1, 2))
            grad[:, f + 4] -= 2.0 * (G * b * law_slope * sq).sum((1, 2))
        if self.shared is not None:
            over = theta[:, -1] - theta[:, f + 2]
            pull = SHARED_FREEDOM * np.exp(-2.0 * over)
            value += SHARED_FREEDOM * over + 0.5 * pull
            grad[:, f + 2] -= SHARED_FREEDOM - pull
            grad[:, -1] += 2.0 * (G * common).sum((1, 2)) + SHARED_FREEDOM - pull
        return value, grad


def inverse(K: Array) -> tuple[Array, Array]:
    """Inverse and log determinant of ``m x n x n`` positive definite matrices.

    A matrix that is not positive definite gets NaN and infinity: as a trial step too far out its
    value is infinite, and the line search comes back.
    """
    L, failed = torch.linalg.cholesky_ex(torch.from_numpy(K))
    bad = failed != 0
    L[bad] = torch.eye(K.shape[-1], dtype=L.dtype)
    logdet = 2.0 * L.diagonal(dim1=1, dim2=2).log().sum(1)
    inv = torch.cholesky_inverse(L)
    inv[bad], logdet[bad] = torch.nan, torch.inf
    return inv.numpy(), logdet.numpy()


def fit_hyperparameters(
    U: Array,
    Z: Array,
    fixed: Array,
    prior: Prior,
    iterations: int,
    law: Array | None = None,
    start: Array | None = None,
    plain: int = 0,
    shared: Array | None = None,
) -> Array:
    """``B x p`` hyperparameters at the maximum a posteriori.

    Args:
        U: As all below, see :class:`GPObjective`.
        Z: Targets.
        fixed: Noise variances.
        prior: Priors.
        iterations: L-BFGS steps; 0 keeps the starts.
        law: Distances of class masses.
        start: ``B x p``; the priors' centres by default.
        plain: How many of the last features are not stretched.
        shared: Covariances of what groups of rows share.
    """
    objective = GPObjective(U, Z, fixed, prior, law, plain, shared)
    start = np.tile(objective.mean, (len(Z), 1)) if start is None else start
    return minimise(objective, start, iterations=iterations, tol=_TOLERANCE).theta
