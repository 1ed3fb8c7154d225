"""Fitted Gaussian processes in torch: one per metric, differentiable in the schedule.

Notation: m metrics, n training rows, f features of the mixture, e features of the shared law.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mixopt.laws._arrays import Array, namespace
from mixopt.laws.phases import effective_mixture
from mixopt.surrogate.ensemble.kernel import CONSTANT, JITTER, TINY
from mixopt.surrogate.factorise import factorise

#: Recencies of the effective mixtures on which the kernel acts when there are several phases.
RECENCIES = (0.0, 6.0)

#: ``(W: n x P x d, F: n x P) -> m x n x e``
MassFeatures = Callable[[Any, Any], Any]


def features(W: Any, F: Any, R: Any) -> Any:
    """Kernel features of schedules ``n x P x d``, ``n x P``, ``n x r``: ``n x f`` in [0, 1].

    One phase: the weights. Several: exposure and recency-weighted mixture side by side, so that
    nothing depends on the weights of a phase that does not exist, and how far the mixture switches.
    Then the searched learning rates.
    """
    join = np.concatenate if isinstance(W, np.ndarray) else torch.cat
    parts = [W[..., 0, :]]
    if W.shape[-2] > 1:
        kappas = namespace(W).asarray(RECENCIES, dtype=W.dtype)
        parts = [*(effective_mixture(k, W, F) for k in kappas), switched(W, F)]
    return join([*parts, R], -1) if R.shape[-1] else join(parts, -1)


def switched(W: Any, F: Any) -> Any:
    """How far the mixture moves where phases meet, ``n x 1``: half the squared distances, summed.

    An abrupt switch costs loss that no weighting of tokens by their time accounts for, since what
    is dropped is forgotten. Phases of fraction 0 do not count.
    """
    xp = namespace(W)
    total, last = xp.zeros_like(F[..., :1]), W[..., 0, :]
    begun = F[..., :1] > 0
    for p in range(1, W.shape[-2]):
        there = F[..., p : p + 1] > 0
        moved = 0.5 * ((W[..., p, :] - last) ** 2).sum(-1)[..., None]
        total = total + xp.where(there & begun, moved, xp.zeros_like(moved))
        last, begun = xp.where(there, W[..., p, :], last), begun | there
    return total


@dataclass(frozen=True)
class Embedded:
    """Schedules as the kernels see them: ``z`` (``... m x q x f``), ``s`` (``... m x q x e``)."""

    z: Tensor
    s: Tensor | None


def _squared_distance(a: Tensor, b: Tensor) -> Tensor:
    norms = (a * a).sum(-1)[..., :, None] + (b * b).sum(-1)[..., None, :]
    # The floor keeps the square root's derivative finite where two points coincide.
    return (norms - 2.0 * a @ b.transpose(-1, -2)).clamp_min(1e-14)


def _matern52(sq: Tensor) -> Tensor:
    r = torch.sqrt(5.0 * sq)
    return (1.0 + r + r * r / 3.0) * torch.exp(-r)


@dataclass(frozen=True)
class Kernel:
    """Prior covariance of the m metrics; the formula stands in ``ensemble/kernel.py``.

    Args:
        theta: ``m x p`` log hyperparameters.
        width: f.
        masses: The shared law's features, or None for the plain warped kernel.
        plain: How many of the last features are not stretched.
    """

    theta: Tensor
    width: int
    masses: MassFeatures | None = None
    plain: int = 0

    @property
    def scales(self) -> list[Tensor]:
        """Signal variances of the Matern parts, ``m`` each."""
        columns = [self.width + 1] + ([self.width + 3] if self.masses else [])
        return [torch.exp(2.0 * self.theta[:, c]) for c in columns]

    @property
    def noise(self) -> Tensor:
        """``m`` noise variances in standardised units."""
        return torch.exp(2.0 * self.theta[:, self.width + 2]) + JITTER

    def only(self, which: list[int]) -> Kernel:
        """The kernel of some of the metrics."""
        masses = self.masses
        if masses is None:
            return Kernel(self.theta[which], self.width, plain=self.plain)
        part: MassFeatures = lambda W, F: masses(W, F)[which]  # noqa: E731
        return Kernel(self.theta[which], self.width, part, self.plain)

    def embed(self, W: Tensor, F: Tensor, R: Tensor) -> Embedded:
        """Schedules ``... x q x P x d`` in the kernels' coordinates."""
        batch, q = W.shape[:-3], W.shape[-3]
        flat_W, flat_F = W.reshape(-1, *W.shape[-2:]), F.reshape(-1, F.shape[-1])
        U, f = features(flat_W, flat_F, R.reshape(len(flat_F), R.shape[-1])), self.width
        gamma = torch.exp(self.theta[:, f])[:, None, None]
        # A true 0 has no derivative under a power below 1: it is cut out before the power.
        inside = U > TINY
        power = torch.where(inside, U, torch.ones_like(U)) ** gamma
        z = torch.where(inside, power, torch.zeros((), dtype=U.dtype))
        if self.plain:
            stretched = f - self.plain
            z = torch.cat([z[..., :stretched], U[:, stretched:].expand(len(z), -1, -1)], -1)
        z = z * torch.exp(-self.theta[:, None, :f])
        if self.masses is None:
            return Embedded(_batched(z, batch, q), None)
        s = self.masses(flat_W, flat_F) * torch.exp(-self.theta[:, f + 4])[:, None, None]
        return Embedded(_batched(z, batch, q), _batched(s, batch, q))

    def covariance(self, x: Embedded, y: Embedded) -> Tensor:
        """``... m x q x k`` prior covariance."""
        scales = self.scales
        K = scales[0][:, None, None] * _matern52(_squared_distance(x.z, y.z)) + CONSTANT
        if x.s is not None and y.s is not None:
            K = K + scales[1][:, None, None] * _matern52(_squared_distance(x.s, y.s))
        return K


def _batched(z: Tensor, batch: torch.Size, q: int) -> Tensor:
    """``m x (batch q) x f`` as ``batch x m x q x f``."""
    return z.reshape(z.shape[0], *batch, q, z.shape[-1]).movedim(0, -3)


@dataclass(frozen=True)
class GP:
    """A kernel conditioned on data, in the metrics' units.

    Args:
        kernel: The prior.
        data: The training rows, embedded.
        inv: ``m x n x n`` inverse covariance with noise.
        alpha: ``m x n`` inverse covariance times targets.
        noise: ``m x n`` observation variances, standardised.
        offset: ``m`` means of the losses.
        scale: ``m`` sds of the losses.
        added: ``m`` variances, standardised, without which the covariance had no factor.
        shared: ``m x n x G`` factor of the covariance, standardised, of the effects that rows
            share; None for none.
    """

    kernel: Kernel
    data: Embedded
    inv: Tensor
    alpha: Tensor
    noise: Tensor
    offset: Tensor
    scale: Tensor
    added: Tensor
    shared: Tensor | None = None

    @classmethod
    def condition(
        cls,
        kernel: Kernel,
        rows: tuple[Array, Array, Array],
        Z: Array,
        fixed: Array,
        offset: Array,
        scale: Array,
        shared: Array | None = None,
    ) -> GP:
        """Condition on standardised losses ``Z`` (``n x m``) with extra noise ``fixed``.

        Rows have effects in common whose covariance has the factor ``shared`` (``m x n x G``).
        """
        data = kernel.embed(*(torch.as_tensor(part) for part in rows))
        noise = kernel.noise[:, None] + torch.as_tensor(fixed).T
        K = kernel.covariance(data, data) + torch.diag_embed(noise)
        effects = None if shared is None else torch.as_tensor(shared)
        if effects is not None:
            K = K + effects @ effects.transpose(-1, -2)
        factor = factorise(K)
        inv = torch.cholesky_inverse(factor.root)
        alpha = (inv @ torch.as_tensor(Z).T[..., None])[..., 0]
        units = torch.as_tensor(offset), torch.as_tensor(scale)
        return cls(kernel, data, inv, alpha, noise, *units, factor.added, effects)

    def only(self, which: list[int]) -> GP:
        """The GPs of some of the metrics."""
        return GP(
            kernel=self.kernel.only(which),
            data=Embedded(self.data.z[which], None if self.data.s is None else self.data.s[which]),
            inv=self.inv[which],
            alpha=self.alpha[which],
            noise=self.noise[which],
            offset=self.offset[which],
            scale=self.scale[which],
            added=self.added[which],
            shared=None if self.shared is None else self.shared[which],
        )

    def cross(self, x: Embedded) -> Tensor:
        """``... m x q x n`` prior covariance with the training rows: K below."""
        return self.kernel.covariance(x, self.data)

    def mean(self, K: Tensor) -> Tensor:
        """``... q x m`` posterior mean (nats/token)."""
        standard = (K @ self.alpha[..., None])[..., 0].transpose(-1, -2)
        return self.offset + self.scale * standard

    def covariance(self, x: Embedded, K: Tensor) -> Tensor:
        """``... m x q x q`` posterior covariance of the latent losses."""
        cov = self.kernel.covariance(x, x) - self._weighed(K) @ K.transpose(-1, -2)
        return cov * (self.scale**2)[:, None, None]

    def variance(self, K: Tensor) -> Tensor:
        """``... q x m`` posterior variances, without the q x q matrix."""
        prior = CONSTANT + torch.stack(self.kernel.scales).sum(0)
        latent = prior[:, None] - (self._weighed(K) * K).sum(-1)
        return torch.mul(latent.clamp_min(1e-12).transpose(-1, -2), self.scale**2)

    def _weighed(self, K: Tensor) -> Tensor:
        """``K @ inv``: a batch's rows are one product per metric, which reads ``inv`` once."""
        m, n = self.inv.shape[:2]
        product = K.movedim(-3, 0).reshape(m, -1, n) @ self.inv
        return product.reshape(m, *K.shape[:-3], -1, n).movedim(0, -3)
