"""One model of a loss over mixture, size and training length at once.

Notation: r mixture, N parameters, D steps, a = (N/N*)^-alpha and b = (D/D*)^-beta. The loss is read
as a common law plus deviations of each mixture, each run and each step:

    L(r, N, D) = E + A a + (B + B' log N) b                    the law all mixtures share
               + f0(r) + f1(r) a + f2(r) b                      how a mixture departs from it
               + run(r, N) + run'(r, N) b                       one training run's own luck
               + step(D) + step(N, D) + noise

All but alpha and beta is Gaussian, so this is a Gaussian process whose variances are learned by
maximum a posteriori; alpha and beta, which few lengths and sizes leave uncertain, are averaged
over. Runs at the same step share their data order, so errors of a step are common to all mixtures:
a fit that takes them as independent is far too sure of beta.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mixopt.bench.tables import Array

#: Exponents of Hoffmann et al. (arXiv 2203.15556), the prior's centre, and its width in the log.
ALPHA, BETA, WIDTH = 0.34, 0.28, 0.5
#: Prior centre (nats/token) and log width of every standard deviation.
_SD, _SD_WIDTH = 0.005, 1.0
_LENGTH_WIDTH = 0.5
_WIDE = 3.0
_TERMS = ("f0", "f1", "f2", "r0", "r1", "run", "run'", "step", "step N", "noise")


@dataclass(frozen=True)
class Rows:
    """Where losses were measured: ``X`` (``n x d``), ``N`` parameters, ``D`` steps, ``n`` each."""

    X: Array
    N: Array
    D: Array


@dataclass(frozen=True)
class ScaleForecast:
    """Predicted losses (nats/token), ``n`` each; ``sd`` is that of one new run."""

    mean: Array
    sd: Array
    alpha: float
    beta: float


class _Scene:
    """Everything about two sets of rows that no parameter changes."""

    def __init__(self, left: Rows, right: Rows, size: float, length: float) -> None:
        near, far = (torch.as_tensor(np.sqrt(rows.X)) for rows in (left, right))
        self.apart = torch.cdist(near, far)
        self.N = [torch.as_tensor(np.log(rows.N / size)) for rows in (left, right)]
        self.D = [torch.as_tensor(np.log(rows.D / length)) for rows in (left, right)]
        same = [self._same(left.X, right.X), self._same(left.N, right.N)]
        self.mix = same[0]
        self.run = same[0] * same[1]
        self.step = self._same(left.D, right.D)
        self.step_size = self.step * same[1]
        self.cell = self.run * self.step

    @staticmethod
    def _same(a: Array, b: Array) -> Tensor:
        a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
        return torch.as_tensor((np.abs(a[:, None] - b[None]).max(-1) < 1e-9).astype(float))

    def covariance(self, theta: Tensor) -> Tensor:
        """Prior covariance of the losses at ``[log alpha, log beta, log length, log sds]``."""
        alpha, beta, length = torch.exp(theta[:3])
        a, b = (
            [torch.exp(-e * v) for v in values] for e, values in ((alpha, self.N), (beta, self.D))
        )
        # Centred, so that a deviation in slope is none in level where most is known.
        a0, b0 = [v - 1.0 for v in a], [v - 1.0 for v in b]
        s = dict(zip(_TERMS, torch.exp(2.0 * theta[3:]), strict=True))
        r = 5**0.5 * self.apart / length
        near = (1.0 + r + r * r / 3.0) * torch.exp(-r)
        aa, bb = torch.outer(*a0), torch.outer(*b0)
        law = 1.0 + aa + bb + torch.outer(self.N[0] * b0[0], self.N[1] * b0[1]) * 0.1
        smooth = near * (s["f0"] + s["f1"] * aa + s["f2"] * bb)
        own = self.mix * (s["r0"] + s["r1"] * aa)
        run = self.run * (s["run"] + s["run'"] * bb)
        step = self.step * s["step"] + self.step_size * s["step N"]
        total: Tensor = _WIDE**2 * law + smooth + own + run + step + self.cell * s["noise"]
        return total


def _prior() -> tuple[Tensor, Tensor]:
    mean = [np.log(ALPHA), np.log(BETA), np.log(0.5), *([np.log(_SD)] * len(_TERMS))]
    # The smooth deviations are how mixtures differ, an order above what runs differ by chance.
    mean[3:6] = [np.log(10 * _SD)] * 3
    sd = [WIDTH, WIDTH, _LENGTH_WIDTH, *([_SD_WIDTH] * len(_TERMS))]
    return torch.as_tensor(mean, dtype=torch.float64), torch.as_tensor(sd, dtype=torch.float64)


class JointModel:
    """The fitted model; make one with :func:`fit_joint`."""

    def __init__(self, rows: Rows, y: Array) -> None:
        self.rows = rows
        self.size, self.length = float(rows.N.max()), float(rows.D.max())
        self.offset = float(y.mean())
        self.y = torch.as_tensor(y - self.offset)
        self.scene = _Scene(rows, rows, self.size, self.length)
        self.prior = _prior()
        self.theta = self.prior[0].clone()

    def _factor(self, theta: Tensor) -> Tensor:
        K = self.scene.covariance(theta)
        factor: Tensor = torch.linalg.cholesky(K + 1e-9 * torch.eye(len(K), dtype=K.dtype))
        return factor

    def log_posterior(self, theta: Tensor) -> Tensor:
        """Log marginal likelihood plus log prior, up to a constant."""
        return self._score(theta, *self._whitened(theta))

    def _whitened(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        L = self._factor(theta)
        return L, torch.linalg.solve_triangular(L, self.y[:, None], upper=False)

    def _score(self, theta: Tensor, L: Tensor, white: Tensor) -> Tensor:
        dev = (theta - self.prior[0]) / self.prior[1]
        fit = 0.5 * (white**2).sum() + torch.log(torch.diagonal(L)).sum()
        value: Tensor = -fit - 0.5 * (dev**2).sum()
        return value

    def fit(self, iterations: int) -> None:
        """Maximise the posterior of all parameters."""
        theta = self.theta.clone().requires_grad_(True)
        optimizer = torch.optim.LBFGS([theta], max_iter=iterations, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = -self.log_posterior(theta)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        self.theta = theta.detach()

    def predict(self, rows: Rows, grid: int = 7) -> ScaleForecast:
        """Losses of new runs, averaged over the exponents' posterior on a grid around its mode."""
        cross = _Scene(rows, self.rows, self.size, self.length)
        own = _Scene(rows, rows, self.size, self.length)
        steps = torch.linspace(-1.0, 1.0, grid, dtype=torch.float64)
        found = []
        with torch.no_grad():
            for da in 0.6 * steps:
                for db in 1.2 * steps:
                    theta = self.theta.clone()
                    theta[0], theta[1] = theta[0] + da, theta[1] + db
                    found.append(self._at(theta, cross, own))
        score = np.array([f[0] for f in found])
        p = np.exp(score - score.max())
        p /= p.sum()
        means, variances = np.stack([f[1] for f in found]), np.stack([f[2] for f in found])
        mean = p @ means
        variance = p @ (variances + (means - mean) ** 2)
        alpha, beta = (float(v) for v in torch.exp(self.theta[:2]))
        return ScaleForecast(mean + self.offset, np.sqrt(variance), alpha, beta)

    def _at(self, theta: Tensor, cross: _Scene, own: _Scene) -> tuple[float, Array, Array]:
        L, white = self._whitened(theta)
        half = torch.linalg.solve_triangular(L, cross.covariance(theta).T, upper=False)
        variance = torch.diagonal(own.covariance(theta)) - (half**2).sum(0)
        mean = (half.T @ white)[:, 0]
        score = float(self._score(theta, L, white))
        return score, mean.numpy(), variance.clamp_min(1e-12).numpy()


def fit_joint(rows: Rows, y: Array, iterations: int = 40) -> JointModel:
    """Fit the model to losses ``y`` (``n``, nats/token) measured at ``rows``."""
    model = JointModel(rows, y)
    model.fit(iterations)
    return model
