"""A Gaussian process on warped simplex features, one per metric, all metrics at once.

k(x, x') = a^2 Matern52(|z - z'|), z = features(x)^gamma / lengthscale, plus a wide constant; the
exponent gamma below 1 stretches the corners of the simplex, where a little of an absent domain
changes the loss most. The noise may depend on a level t(x): sigma^2 exp(2 h t). Hyperparameters by
maximum a posteriori with log-normal priors and hand-written gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixopt.laws._arrays import Array
from mixopt.laws._lbfgs import Ints, minimise

CONSTANT = 4.0
JITTER = 1e-6
TINY = 1e-9


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
    trend: tuple[float, float] = (0.0, 0.3)


def prior_vectors(features: int, prior: Prior) -> tuple[Array, Array]:
    """Mean and sd of ``[log l_1..log l_f, log gamma, log a, log sigma, h]``."""
    centre = prior.lengthscale[0] + 0.5 * np.log(features)
    tail = (prior.gamma, prior.scale, prior.noise, prior.trend)
    mean = np.array([centre] * features + [t[0] for t in tail])
    sd = np.array([prior.lengthscale[1]] * features + [t[1] for t in tail])
    return mean, sd


def matern52(sq: Array) -> tuple[Array, Array]:
    """Matern-5/2 correlation of squared distances and its derivative in them."""
    r = np.sqrt(5.0 * np.maximum(sq, 0.0))
    e = np.exp(-r)
    return (1.0 + r + r * r / 3.0) * e, -(5.0 / 6.0) * (1.0 + r) * e


def _warp(U: Array, theta: Array) -> tuple[Array, Array, Array]:
    """Scaled features z (``m x n x f``), log U, and gamma (``m``); 0 stays 0."""
    f = U.shape[-1]
    log_u = np.log(np.maximum(U, TINY))
    gamma = np.exp(theta[:, f])
    z = np.where(U > TINY, np.exp(gamma[:, None, None] * log_u), 0.0)
    return z * np.exp(-theta[:, None, :f]), log_u, gamma


def _squared_distance(a: Array, b: Array) -> Array:
    aa, bb = (a * a).sum(-1), (b * b).sum(-1)
    return np.asarray(aa[..., :, None] + bb[..., None, :] - 2.0 * a @ b.swapaxes(-1, -2))


def covariance(theta: Array, U: Array, V: Array) -> Array:
    """Prior covariance ``m x n x k`` between features ``U`` (``n x f``) and ``V`` (``k x f``)."""
    a = np.exp(2.0 * theta[:, -3])[:, None, None]
    sq = _squared_distance(_warp(U, theta)[0], _warp(V, theta)[0])
    return a * matern52(sq)[0] + CONSTANT


def noise_variance(theta: Array, T: Array) -> Array:
    """Observation variance ``m x n`` at levels ``T`` (``n x m``), in standardised units."""
    return np.asarray(np.exp(2.0 * (theta[:, -2:-1] + theta[:, -1:] * T.T))) + JITTER


class GPObjective:
    """Negative log marginal likelihood plus negative log prior, with its gradient.

    Args:
        U: ``n x f`` features in [0, 1]; Z: ``n x m`` standardised losses.
        T: ``n x m`` levels on which the noise may depend.
        fixed: ``n x m`` known extra noise variances, or zeros.
        prior: Priors of the hyperparameters.
    """

    def __init__(self, U: Array, Z: Array, T: Array, fixed: Array, prior: Prior) -> None:
        self.U, self.Z, self.T, self.fixed = U, Z.T, T, fixed.T
        self.mean, self.sd = prior_vectors(U.shape[-1], prior)

    def __call__(self, theta: Array, which: Ints) -> tuple[Array, Array]:
        """Values ``b`` and gradients ``b x p`` of the metrics ``which``."""
        f, n = self.U.shape[-1], self.U.shape[0]
        z, log_u, gamma = _warp(self.U, theta)
        corr, slope = matern52(_squared_distance(z, z))
        a = np.exp(2.0 * theta[:, f + 1])[:, None, None]
        noise = noise_variance(theta, self.T[:, which])
        K = a * corr + CONSTANT
        K[:, np.arange(n), np.arange(n)] += noise + self.fixed[which]
        inv, logdet = inverse(K)
        alpha = (inv @ self.Z[which][..., None])[..., 0]
        dev = (theta - self.mean) / self.sd
        value = 0.5 * (self.Z[which] * alpha).sum(1) + 0.5 * logdet + 0.5 * (dev**2).sum(1)
        G = 0.5 * (inv - alpha[:, :, None] * alpha[:, None, :])
        Q = G * a * slope
        dz = 4.0 * (Q.sum(2)[..., None] * z - Q @ z)
        # The diagonal's noise less its jitter, which no hyperparameter moves.
        dn = np.diagonal(G, axis1=1, axis2=2) * 2.0 * (noise - JITTER)
        grad = dev / self.sd
        zdz = z * dz
        grad[:, :f] -= zdz.sum(1)
        grad[:, f] += gamma * (zdz * log_u).sum((1, 2))
        grad[:, f + 1] += 2.0 * (G * a * corr).sum((1, 2))
        grad[:, f + 2] += dn.sum(1)
        grad[:, f + 3] += (dn * self.T[:, which].T).sum(1)
        return value, grad


def inverse(K: Array) -> tuple[Array, Array]:
    """Inverse and log determinant of ``m x n x n`` positive definite matrices."""
    L = np.linalg.cholesky(K)
    inv = np.linalg.inv(L)
    logdet = 2.0 * np.log(np.diagonal(L, axis1=1, axis2=2)).sum(1)
    return np.asarray(inv.swapaxes(1, 2) @ inv), logdet


def fit_hyperparameters(
    U: Array, Z: Array, T: Array, fixed: Array, prior: Prior, iterations: int
) -> Array:
    """``m x p`` hyperparameters at the maximum a posteriori, started at the priors' centres."""
    objective = GPObjective(U, Z, T, fixed, prior)
    start = np.tile(objective.mean, (Z.shape[1], 1))
    return minimise(objective, start, iterations=iterations, tol=1e-5).theta


def leave_groups_out(inv: Array, Z: Array, groups: Ints) -> tuple[Array, Array]:
    """Closed-form predictions of each row from the rows of all other groups, each ``n x m``.

    Args:
        inv: ``m x n x n`` inverse covariance, noise included.
        Z: ``n x m`` targets.
        groups: ``n`` group numbers; with every row its own group this is leave-one-out.

    Returns:
        Means and variances (noise included).
    """
    alpha = (inv @ Z.T[..., None])[..., 0]
    mean, var = np.empty_like(Z), np.empty_like(Z)
    for g in np.unique(groups):
        rows = np.flatnonzero(groups == g)
        block = np.linalg.inv(inv[:, rows[:, None], rows])
        mean[rows] = Z[rows] - (block @ alpha[:, rows, None])[..., 0].T
        var[rows] = np.diagonal(block, axis1=1, axis2=2).T
    return mean, var
