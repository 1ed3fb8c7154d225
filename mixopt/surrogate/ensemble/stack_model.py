"""The fitted surrogate as a BoTorch model: stack mean, calibrated GP covariance."""

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
from linear_operator.operators import RootLinearOperator
from torch import Tensor

from mixopt.laws import effective_weights, rate_fractions
from mixopt.laws._arrays import Array
from mixopt.laws._lbfgs import Ints
from mixopt.space import Layout
from mixopt.surrogate.ensemble.gp import GP, Embedded
from mixopt.surrogate.ensemble.kernel import CONSTANT
from mixopt.surrogate.ensemble.noise import Noise
from mixopt.surrogate.factorise import factorise

_FREQUENCIES = 256
#: Levels are cut here, in sds of the seen losses, so that no corner gets an absurd interval.
_LEVEL_LIMIT = 2.0
#: Of the posterior (squared nats/token): GPyTorch warns of anything below 1e-10.
_LEAST_VARIANCE = 1.01e-10

#: ``(W: n x P x d, F: n x P, R: n x r) -> n x m``
Mean = Callable[[Any, Any, Any], Any]
Rows = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Inflation:
    """Calibration of the standard deviation: c exp(h t), t the standardised predicted loss.

    Mixtures with little of a metric's own domain have both high losses and large errors, which a
    stationary kernel does not know. Each argument holds one number per metric.
    """

    factor: Tensor
    trend: Tensor
    offset: Tensor
    scale: Tensor

    def only(self, which: list[int]) -> Inflation:
        """The calibration of some of the metrics."""
        return Inflation(
            self.factor[which], self.trend[which], self.offset[which], self.scale[which]
        )

    def __call__(self, mean: Tensor) -> Tensor:
        """Factors ``... x m`` at predicted losses ``... x m``."""
        level = ((mean - self.offset) / self.scale).clamp(-_LEVEL_LIMIT, _LEVEL_LIMIT)
        return self.factor * torch.exp(self.trend * level)


class StackModel(Model):
    """BoTorch model over rows ``X`` (``batch_shape x q x D``): a Gaussian per metric.

    Its mean is the stack of law members and GPs. Its covariance is that of the last GP and, as in
    Bayesian model averaging, of the members about their mean, both scaled so that out-of-fold
    residuals have the size claimed. The errors of different metrics go together as
    those residuals do: cov_ij(x, x') = R_ij (L_i L_j^T)(x, x'), with L_i the Cholesky factor of
    metric i's covariance, a covariance for every correlation R that leaves each metric's own alone.

    Args:
        layout: Meaning of the columns of X.
        order: Canonical order of the domains.
        means: One function per further member, ``(W, F, R) -> n x m``.
        weights: ``(k + 1) x m`` stack weights, the GP last.
        gp: The GP that gives the covariance.
        inflation: Calibration of its standard deviation.
        noise_var: ``m`` observation variances at the typical row.
        correlation: ``m x m`` of the metrics' errors.
        noise: The same at any row, where replicates taught it; None scales ``noise_var`` like the
            covariance.
    """

    def __init__(
        self,
        layout: Layout,
        order: Ints,
        means: Sequence[Mean],
        weights: Array,
        gp: GP,
        inflation: Inflation,
        noise_var: Array,
        correlation: Array,
        noise: Noise | None = None,
    ) -> None:
        super().__init__()
        self.layout, self.order, self.means, self.gp = layout, torch.as_tensor(order), means, gp
        self.weights, self.inflation = torch.as_tensor(weights), inflation
        self.noise_var, self.noise = torch.as_tensor(noise_var), noise
        self.correlation = torch.as_tensor(correlation)

    def only(self, which: list[int]) -> StackModel:
        """The model of some of the metrics; as many times cheaper as there are fewer."""
        return StackModel(
            self.layout,
            self.order.numpy(),
            [_columns(mean, which) for mean in self.means],
            self.weights[:, which].numpy(),
            self.gp.only(which),
            self.inflation.only(which),
            self.noise_var[which].numpy(),
            self.correlation[which][:, which].numpy(),
            self.noise and self.noise.only(which),
        )

    @property
    def num_outputs(self) -> int:
        """Number of metrics m."""
        return int(self.weights.shape[-1])

    @property
    def batch_shape(self) -> torch.Size:
        """No batch of models."""
        return torch.Size()

    def embed(self, X: Tensor) -> tuple[Rows, Embedded]:
        """Weights (domains in canonical order), fractions and rates; and kernel coordinates."""
        X = X.to(torch.float64)
        W, F = self.layout.split(X)
        repeated = self.layout.repetition
        if repeated is not None:
            W = effective_weights(repeated, W, F, repeated.target)
        F = rate_fractions(self.layout.clock, F)
        rows = W[..., self.order], F, self.layout.rate_part(X)
        return rows, self.gp.kernel.embed(*rows)

    def stacked(self, rows: Rows, K: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of the stack and its members about it, given the GP's cross covariance K.

        Returns:
            ``... x q x m`` (nats/token), and ``k x ... x q x m`` deviations of the members with a
            weight, each times the root of it, so that their squares sum to a variance.
        """
        W, F, R = rows
        flat = (
            W.reshape(-1, *W.shape[-2:]),
            F.reshape(-1, F.shape[-1]),
            R.reshape(len(F.reshape(-1, F.shape[-1])), R.shape[-1]),
        )
        used = [i for i in range(len(self.means)) if bool((self.weights[i] > 0).any())]
        laws = [self.means[i](*flat).reshape(*W.shape[:-2], -1) for i in used]
        each = torch.stack([*laws, self.gp.mean(K)])
        w = self.weights[[*used, len(self.means)]].reshape(len(each), *(1,) * (W.ndim - 2), -1)
        mean: Tensor = (w * each).sum(0)
        return mean, w.sqrt() * (each - mean)

    def moments(self, X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, latent variance and noise variance at ``n x D``: ``n x m`` each."""
        rows, x = self.embed(X)
        K = self.gp.cross(x)
        mean, apart = self.stacked(rows, K)
        latent = (self.gp.variance(K) + (apart**2).sum(0)) * self.inflation(mean) ** 2
        return mean, latent, self.observation_variance(rows, mean)

    def observation_variance(self, rows: Rows, mean: Tensor) -> Tensor:
        """Noise variances ``... x m`` of one observation at rows with predicted losses ``mean``."""
        if self.noise is not None:
            return self.noise.variance(mean, rows[0], rows[1])
        return self.noise_var * self.inflation(mean) ** 2

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
        rows, x = self.embed(X)
        K = self.gp.cross(x)
        mean, apart = self.stacked(rows, K)
        inflate = self.inflation(mean).transpose(-1, -2)
        members = apart.movedim(0, -1).transpose(-2, -3)
        cov = self.gp.covariance(x, K) + members @ members.transpose(-1, -2)
        cov = cov * inflate[..., :, None] * inflate[..., None, :]
        eye = torch.eye(X.shape[-2], dtype=cov.dtype)
        # Rounding leaves variances below 0 where nothing is uncertain.
        lift = (-cov.diagonal(dim1=-2, dim2=-1)).clamp_min(0.0)
        lift = lift + (1e-9 * self.gp.scale**2).clamp_min(_LEAST_VARIANCE)[:, None]
        cov = cov + torch.diag_embed(lift)
        if isinstance(observation_noise, Tensor):
            cov = cov + observation_noise.transpose(-1, -2)[..., None] * eye
        elif observation_noise:
            noise = self.observation_variance(rows, mean).transpose(-1, -2)
            cov = cov + noise[..., None] * eye
        mean, R = mean.transpose(-1, -2), self.correlation
        if output_indices is not None:
            mean, cov = mean[..., output_indices, :], cov[..., output_indices, :, :]
            R = R[output_indices][:, output_indices]
        posterior = as_posterior(mean, cov, R)
        return posterior_transform(posterior) if posterior_transform is not None else posterior


def _columns(mean: Mean, which: list[int]) -> Mean:
    return lambda W, F, R: mean(W, F, R)[:, which]


def as_posterior(mean: Tensor, cov: Tensor, R: Tensor) -> GPyTorchPosterior:
    """Means ``batch x m x q``, covariances ``batch x m x q x q`` and correlation ``m x m``."""
    m, q = mean.shape[-2:]
    # Given by its root, a covariance need not be factorised again to draw from it.
    own = factorise(cov).root
    if m == 1:
        joint = RootLinearOperator(own[..., 0, :, :])
        return GPyTorchPosterior(MultivariateNormal(mean[..., 0, :], joint))
    root = torch.einsum("ij,...iab->...aibj", _root(R), own)
    joint = RootLinearOperator(root.reshape(*root.shape[:-4], m * q, m * q))
    return GPyTorchPosterior(MultitaskMultivariateNormal(mean.transpose(-1, -2), joint))


class SamplePaths:
    """Functions drawn from the posterior, evaluated anywhere (Wilson et al., arXiv 2002.09309).

    A prior draw in random Fourier features (Matern-5/2: Student-t frequencies with 5 degrees of
    freedom) is corrected by the data through Matheron's rule, mixed over the metrics, scaled and
    put on the stack mean. The disagreement of the members is left out: it is largest in corners far
    from all data, where draws with it sent whole batches (``docs/negative-results.md``).

    Args:
        model: The surrogate's model.
        num: Number of paths.
        seed: Of the draws.
    """

    def __init__(self, model: StackModel, num: int, seed: int) -> None:
        self.model, gp = model, model.gp
        rng = np.random.default_rng(seed)
        parts = [gp.data.z] + ([gp.data.s] if gp.data.s is not None else [])
        m, n = gp.alpha.shape
        self.waves = [_Waves(rng, part.shape[-1], m, num) for part in parts]
        self.constant = torch.as_tensor(rng.standard_normal((m, 1, num))) * CONSTANT**0.5
        noise = torch.as_tensor(rng.standard_normal((m, n, num))) * gp.noise.sqrt()[..., None]
        if gp.shared is not None:
            effects = rng.standard_normal((m, gp.shared.shape[-1], num))
            noise = noise + gp.shared @ torch.as_tensor(effects)
        self.root = _root(model.correlation)
        at_data = torch.stack([self._prior(i, gp.data) for i in range(m)])
        self.correction = gp.inv @ (at_data + noise)

    def _prior(self, metric: int, x: Embedded) -> Tensor:
        """``batch x num`` prior draws of one metric."""
        total: Tensor = self.constant[metric]
        coordinates = [x.z] if x.s is None else [x.z, x.s]
        scales = self.model.gp.kernel.scales
        for wave, at, scale in zip(self.waves, coordinates, scales, strict=True):
            total = total + scale[metric].sqrt() * wave(metric, at[metric])
        return total

    def __call__(self, X: Tensor) -> Tensor:
        """Paths at ``X`` (``batch x D``): ``num x batch x m`` nats/token, differentiable."""
        gp = self.model.gp
        rows, x = self.model.embed(X)
        K = gp.cross(x)
        mean, _ = self.model.stacked(rows, K)
        factor = self.model.inflation(mean) * gp.scale
        parts = [self._prior(i, x) - K[i] @ self.correction[i] for i in range(len(K))]
        return mean + factor * (torch.stack(parts).permute(2, 1, 0) @ self.root)


def _root(R: Tensor) -> Tensor:
    """The symmetric square root of a correlation matrix: each metric stays mostly its own."""
    value, vector = torch.linalg.eigh(R)
    root: Tensor = (vector * value.clamp_min(0.0).sqrt()) @ vector.T
    return root


class _Waves:
    """Unit-variance Matern-5/2 draws of m metrics in random Fourier features."""

    def __init__(self, rng: np.random.Generator, width: int, m: int, num: int) -> None:
        student = np.sqrt(5.0 / rng.chisquare(5.0, _FREQUENCIES))
        self.frequency = torch.as_tensor(rng.standard_normal((width, _FREQUENCIES)) * student)
        self.phase = torch.as_tensor(rng.uniform(0.0, 2.0 * np.pi, _FREQUENCIES))
        self.w = torch.as_tensor(rng.standard_normal((m, _FREQUENCIES, num)))

    def __call__(self, metric: int, z: Tensor) -> Tensor:
        wave = torch.cos(z @ self.frequency + self.phase)
        return torch.mul(wave @ self.w[metric], (2.0 / _FREQUENCIES) ** 0.5)
