"""The fitted surrogate as a BoTorch model: stack mean, calibrated GP covariance.

Notation: m metrics, n training rows, f features, U features of the training rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from botorch.models.model import Model
from botorch.posteriors.gpytorch import GPyTorchPosterior
from botorch.posteriors.posterior import Posterior
from gpytorch.distributions import MultitaskMultivariateNormal, MultivariateNormal
from torch import Tensor

from mixopt.laws._arrays import Array
from mixopt.laws._lbfgs import Ints
from mixopt.laws.phases import effective_mixture
from mixopt.space import Layout
from mixopt.surrogate._kernel import CONSTANT, TINY

_FREQUENCIES = 512

#: Recencies of the effective mixtures on which the kernel acts when there are several phases.
RECENCIES = (0.0, 6.0)


def features(W: Any, F: Any) -> Any:
    """Kernel features of schedules ``... x P x d``, ``... x P``: ``... x f`` in [0, 1].

    One phase: the weights. Several: exposure and recency-weighted mixture side by side, so that
    nothing depends on the weights of a phase that does not exist.
    """
    if W.shape[-2] == 1:
        return W[..., 0, :]
    xp = np if isinstance(W, np.ndarray) else torch
    kappas = np.array(RECENCIES) if xp is np else torch.tensor(RECENCIES, dtype=W.dtype)
    flat_W, flat_F = W.reshape(-1, *W.shape[-2:]), F.reshape(-1, F.shape[-1])
    parts = [effective_mixture(k, flat_W, flat_F) for k in kappas]
    return xp.concatenate(parts, -1).reshape(*W.shape[:-2], -1)


@dataclass(frozen=True)
class GPState:
    """A fitted GP per metric in torch.

    Args:
        U: ``n x f``; theta: ``m x p`` log hyperparameters; inv: ``m x n x n`` inverse covariance
            with noise; alpha: ``m x n``; noise: ``m x n`` observation variances; offset, scale:
            ``m``, undoing the standardisation.
    """

    U: Tensor
    theta: Tensor
    inv: Tensor
    alpha: Tensor
    noise: Tensor
    offset: Tensor
    scale: Tensor

    def warp(self, U: Tensor) -> Tensor:
        """Scaled warped features ``... x m x q x f`` of ``... x q x f``."""
        f = U.shape[-1]
        gamma = torch.exp(self.theta[:, f])[:, None, None]
        # A true 0 has no derivative under a power below 1: it is cut out before the power.
        inside = U[..., None, :, :] > TINY
        safe = torch.where(inside, U[..., None, :, :], torch.ones_like(U[..., None, :, :]))
        z = torch.where(inside, safe**gamma, torch.zeros((), dtype=U.dtype))
        return z * torch.exp(-self.theta[:, None, :f])

    @property
    def amplitude(self) -> Tensor:
        """``m`` signal variances."""
        return torch.exp(2.0 * self.theta[:, -3])

    def covariance(self, z: Tensor, v: Tensor) -> Tensor:
        """``... x m x q x k`` prior covariance of warped features."""
        sq = (z * z).sum(-1)[..., :, None] + (v * v).sum(-1)[..., None, :]
        sq = (sq - 2.0 * z @ v.transpose(-1, -2)).clamp_min(1e-14)
        r = torch.sqrt(5.0 * sq)
        corr = (1.0 + r + r * r / 3.0) * torch.exp(-r)
        return self.amplitude[:, None, None] * corr + CONSTANT

    def mean(self, U: Tensor) -> Tensor:
        """``... x q x m`` posterior mean, in the metrics' units."""
        K = self.covariance(self.warp(U), self.warp(self.U))
        standard = (K @ self.alpha[..., None])[..., 0].transpose(-1, -2)
        return self.offset + self.scale * standard

    def posterior_covariance(self, U: Tensor) -> Tensor:
        """``... x m x q x q`` posterior covariance of the latent losses, in squared units."""
        z, v = self.warp(U), self.warp(self.U)
        K = self.covariance(z, v)
        cov = self.covariance(z, z) - K @ self.inv @ K.transpose(-1, -2)
        return cov * (self.scale**2)[:, None, None]

    def variance(self, U: Tensor) -> Tensor:
        """``q x m`` posterior variances of ``q x f``, without the q x q matrix."""
        K = self.covariance(self.warp(U), self.warp(self.U))
        explained = ((K @ self.inv) * K).sum(-1)
        latent = ((self.amplitude + CONSTANT)[:, None] - explained).clamp_min(1e-12)
        variance: Tensor = torch.mul(latent.T, self.scale**2)
        return variance


class StackModel(Model):
    """BoTorch model over rows ``X`` (``batch_shape x q x D``): a Gaussian per metric.

    Its mean is the stack of law members and the GP; its covariance the GP's, scaled so that
    out-of-fold residuals have the size it claims. Metrics are independent given the data.

    Args:
        layout: Meaning of the columns of X.
        order: Canonical order of the domains.
        means: One function per law member, ``(W, F) -> q x m``.
        weights: ``(k + 1) x m`` stack weights, the GP last.
        gp: The fitted GP.
        inflate: ``m`` factors on the standard deviation.
        noise_var: ``m`` observation variances at the typical row.
    """

    def __init__(
        self,
        layout: Layout,
        order: Ints,
        means: Sequence[Callable[[Any, Any], Any]],
        weights: Array,
        gp: GPState,
        inflate: Array,
        noise_var: Array,
    ) -> None:
        super().__init__()
        self.layout, self.order, self.means, self.gp = layout, torch.as_tensor(order), means, gp
        self.weights = torch.as_tensor(weights)
        self.inflate, self.noise_var = torch.as_tensor(inflate), torch.as_tensor(noise_var)

    @property
    def num_outputs(self) -> int:
        """Number of metrics m."""
        return int(self.weights.shape[-1])

    @property
    def batch_shape(self) -> torch.Size:
        """No batch of models."""
        return torch.Size()

    def split(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and fractions of ``X`` with the domains in canonical order."""
        W, F = self.layout.split(X)
        return W[..., self.order], F

    def mean(self, X: Tensor) -> Tensor:
        """Stack mean ``batch_shape x q x m`` (nats/token)."""
        W, F = self.split(X)
        total: Tensor = self.weights[-1] * self.gp.mean(features(W, F))
        flat_W, flat_F = W.reshape(-1, *W.shape[-2:]), F.reshape(-1, F.shape[-1])
        for w, member in zip(self.weights[:-1], self.means, strict=True):
            if bool((w > 0).any()):
                total = total + (w * member(flat_W, flat_F)).reshape(*X.shape[:-1], -1)
        return total

    def posterior(
        self,
        X: Tensor,
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: Any = None,
    ) -> Posterior:
        """Joint posterior over the q points of each batch, differentiable in X.

        Args:
            X: ``batch_shape x q x D``.
            output_indices: Metrics wanted; all by default.
            observation_noise: Add the noise of one observation (True), or the given variances.
            posterior_transform: BoTorch's, applied last.
        """
        W, F = self.split(X)
        cov = self.gp.posterior_covariance(features(W, F)) * (self.inflate**2)[:, None, None]
        eye = torch.eye(X.shape[-2], dtype=X.dtype)
        cov = cov + (1e-9 * self.gp.scale**2)[:, None, None] * eye
        if isinstance(observation_noise, Tensor):
            cov = cov + observation_noise.transpose(-1, -2)[..., None] * eye
        elif observation_noise:
            cov = cov + self.noise_var[:, None, None] * eye
        mean = self.mean(X).transpose(-1, -2)
        if output_indices is not None:
            mean, cov = mean[..., output_indices, :], cov[..., output_indices, :, :]
        posterior = _as_posterior(MultivariateNormal(mean, cov))
        return posterior_transform(posterior) if posterior_transform is not None else posterior


def _as_posterior(mvn: MultivariateNormal) -> GPyTorchPosterior:
    if mvn.batch_shape[-1] == 1:
        single = MultivariateNormal(mvn.mean[..., 0, :], mvn.covariance_matrix[..., 0, :, :])
        return GPyTorchPosterior(single)
    return GPyTorchPosterior(MultitaskMultivariateNormal.from_batch_mvn(mvn, task_dim=-1))


class SamplePaths:
    """Functions drawn from the posterior, evaluated anywhere (Wilson et al., arXiv 2002.09309).

    A prior draw in random Fourier features (Matern-5/2: Student-t frequencies with 5 degrees of
    freedom) is corrected by the data through Matheron's rule, scaled and put on the stack mean.

    Args:
        model: The surrogate's model.
        num: Number of paths.
        seed: Of the draws.
    """

    def __init__(self, model: StackModel, num: int, seed: int) -> None:
        self.model, gp = model, model.gp
        rng = np.random.default_rng(seed)
        m, f = len(gp.theta), gp.U.shape[-1]
        student = np.sqrt(5.0 / rng.chisquare(5.0, _FREQUENCIES))
        self.frequency = torch.as_tensor(rng.standard_normal((f, _FREQUENCIES)) * student)
        self.phase = torch.as_tensor(rng.uniform(0.0, 2.0 * np.pi, _FREQUENCIES))
        self.w = torch.as_tensor(rng.standard_normal((m, _FREQUENCIES, num)))
        self.constant = torch.as_tensor(rng.standard_normal((m, 1, num))) * CONSTANT**0.5
        self.v = gp.warp(gp.U)
        noise = torch.as_tensor(rng.standard_normal((m, len(gp.U), num)))
        at_data = torch.stack([self._prior(i, self.v[i]) for i in range(m)])
        self.correction = gp.inv @ (at_data + noise * gp.noise.sqrt()[..., None])

    def _prior(self, metric: int, z: Tensor) -> Tensor:
        """``batch x num`` prior draws of one metric at warped features ``batch x f``."""
        wave = torch.cos(z @ self.frequency + self.phase)
        size = (2.0 * self.model.gp.amplitude[metric] / _FREQUENCIES).sqrt()
        return torch.addcmul(self.constant[metric], size, wave @ self.w[metric])

    def __call__(self, X: Tensor) -> Tensor:
        """Paths at ``X`` (``batch x D``): ``num x batch x m`` nats/token, differentiable."""
        gp = self.model.gp
        W, F = self.model.split(X)
        z = gp.warp(features(W, F))
        K = gp.covariance(z, self.v)
        factor = self.model.inflate * gp.scale
        parts = [
            factor[i] * (self._prior(i, z[i]) - K[i] @ self.correction[i]) for i in range(len(K))
        ]
        return torch.stack(parts).permute(2, 1, 0) + self.model.mean(X)
