"""A small Bayesian linear surrogate in random features, and landscapes whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch

from mixopt.propose import Evidence
from mixopt.space import Fidelity, PhaseSpace, SearchSpace, geometry_of

TOKENS = {"a": 40_000, "b": 90_000, "c": 120_000, "d": 15_000, "e": 60_000}
WAVES = 192


def make_space(d=4, phases=1, epochs=4.0, order=None, **extra):
    names = list(order or list(TOKENS)[:d])
    chosen = [PhaseSpace(name="base")]
    if phases == 2:
        chosen.append(PhaseSpace(name="ending", fraction=(0.0, 0.1, 0.2, 0.3)))
    return SearchSpace(
        domains=[{"name": n, "tokens": TOKENS[n]} for n in names],
        phases=chosen,
        target=Fidelity(parameters=1000, tokens=100_000),
        max_epochs=epochs,
        **extra,
    )


@dataclass
class Landscape:
    """Losses c + b (eps + a . effective mixture)^-g, one metric per domain."""

    space: SearchSpace
    noise: float = 0.01
    recency: float = 0.3

    @property
    def metrics(self):
        return tuple(sorted(self.space.names))

    @property
    def use(self):
        """``m x d``: how much a domain's tokens count for a metric, the same for every order."""
        known = sorted(TOKENS)
        table = np.random.default_rng(5).uniform(0.0, 0.25, (len(known), len(known)))
        np.fill_diagonal(table, 1.0)
        rows = [known.index(n) for n in self.metrics]
        return table[np.ix_(rows, [known.index(n) for n in self.space.names])]

    def torch(self, X):
        W, F = geometry_of(self.space).layout.split(X)
        exposure = (W * F[..., None]).sum(-2)
        last = torch.where(F[..., -1:] > 1e-9, W[..., -1, :], W[..., 0, :])
        z = (1 - self.recency) * exposure + self.recency * last
        return 2 + 0.5 * (0.05 + z @ torch.as_tensor(self.use).T) ** -0.4

    def __call__(self, X):
        return self.torch(torch.as_tensor(np.atleast_2d(X))).numpy()

    def evidence(self, schedules, seed=0):
        X = np.array([geometry_of(self.space).encode(s) for s in schedules])
        noise = self.noise * np.random.default_rng(seed).standard_normal(self(X).shape)
        return Evidence(X, self(X) + noise, self.metrics, tuple(f"t{i}" for i in range(len(X))))


def joint(mean, cov):
    """Of q points and independent metrics, from ``... x q x m`` and ``... x m x q x q``."""
    q, m = mean.shape[-2:]
    apart = torch.einsum("...iab,ij->...aibj", cov, torch.eye(m, dtype=cov.dtype))
    whole = apart.reshape(*mean.shape[:-2], q * m, q * m)
    return SimpleNamespace(mean=mean, covariance_matrix=whole)


class Bare:
    """The part of the surrogates' protocol that most tests do not ask about."""

    out_of_fold = None
    repairs = ()

    def __init__(self, space, metrics, noise):
        self.layout, self.domains = geometry_of(space).layout, space.names
        self.metrics = tuple(metrics)
        self.noise_sd = np.full(len(metrics), noise)

    @property
    def correlation(self):
        return np.eye(len(self.metrics))

    @property
    def level(self):
        return np.zeros((len(self.metrics),) * 2)

    def only(self, metrics):
        return Some(self, tuple(metrics))

    def report(self):
        return ()


class Some(Bare):
    """Some of the metrics of another stand-in."""

    def __init__(self, whole, metrics):
        self.whole, self.metrics = whole, metrics
        self.which = [whole.metrics.index(name) for name in metrics]
        self.layout, self.domains = whole.layout, whole.domains
        self.noise_sd = whole.noise_sd[self.which]

    def _of(self, found):
        return SimpleNamespace(
            **{k: v[..., self.which] for k, v in vars(found).items() if k != "distribution"}
        )

    def posterior(self, X):
        return self._of(self.whole.posterior(X))

    def predict(self, X):
        return self._of(self.whole.predict(X))

    def sample_paths(self, num, seed):
        path = self.whole.sample_paths(num, seed)
        return lambda X: path(X)[..., self.which]

    def report(self):
        return tuple(row for row in self.whole.report() if row.metric in self.metrics)


class Exact(Bare):
    """Knows the landscape, up to a hair."""

    def __init__(self, land):
        super().__init__(land.space, land.metrics, land.noise)
        self.land = land

    def posterior(self, X):
        mean = self.land.torch(X)
        cov = torch.zeros(*mean.shape[:-2], mean.shape[-1], mean.shape[-2], mean.shape[-2])
        return SimpleNamespace(
            mean=mean,
            variance=torch.full_like(mean, 1e-12),
            distribution=joint(mean, cov.to(mean.dtype)),
        )

    def predict(self, X):
        mean = self.land(X)
        return SimpleNamespace(mean=mean, sd=np.full_like(mean, 1e-6))

    def sample_paths(self, num, seed):
        shift = 1e-6 * torch.as_tensor(np.random.default_rng(seed).standard_normal((num, 1, 1)))
        return lambda X: self.land.torch(X) + shift


class Standin(Bare):
    """Posterior over weights of random features of sqrt(exposure) and sqrt(ending), per metric."""

    def __init__(self, space, evidence, noise, length=0.7, seed=0):
        super().__init__(space, evidence.metrics, noise)
        self.space, self.noise, self.length = space, noise, length
        self.rank = np.argsort(space.names)
        f = len(space.names) * min(len(space.phases), 2)
        rng = np.random.default_rng(seed)
        self.wave = torch.as_tensor(rng.standard_normal((f, WAVES)) / length)
        self.shift = torch.as_tensor(rng.uniform(0, 2 * np.pi, WAVES))
        self.offset = torch.as_tensor(evidence.Y.mean(0))
        self.scale = torch.as_tensor(2 * evidence.Y.std(0) + 1e-9)
        phi = self.phi(torch.as_tensor(evidence.X))
        y = (torch.as_tensor(evidence.Y) - self.offset) / self.scale
        precision = (self.scale / torch.as_tensor(self.noise_sd)) ** 2
        A = precision[:, None, None] * (phi.T @ phi) + torch.eye(phi.shape[1])
        self.cov = torch.linalg.inv(A)
        self.coef = (self.cov @ (precision[:, None, None] * (phi.T @ y).T[..., None]))[..., 0]

    def phi(self, X):
        W, F = self.layout.split(X)
        W = W[..., self.rank]
        z = (W * F[..., None]).sum(-2)
        if self.layout.phases > 1:
            there = (F[..., -1:] > 1e-9).to(W.dtype)
            z = torch.cat([z, there * W[..., -1, :] + (1 - there) * W[..., 0, :]], -1)
        z = (z + 1e-4).sqrt()
        return (2 / WAVES) ** 0.5 * torch.cos(z @ self.wave + self.shift)

    def posterior(self, X):
        phi = self.phi(X)
        mean = self.offset + self.scale * (phi @ self.coef.T)
        var = torch.einsum("...f,mfg,...g->...m", phi, self.cov, phi) * self.scale**2
        cov = torch.einsum("...af,mfg,...bg->...mab", phi, self.cov, phi)
        return SimpleNamespace(
            mean=mean, variance=var, distribution=joint(mean, cov * self.scale[:, None, None] ** 2)
        )

    def predict(self, X):
        with torch.no_grad():
            found = self.posterior(torch.as_tensor(X))
        return SimpleNamespace(
            mean=found.mean.numpy(), sd=found.variance.clamp_min(0).sqrt().numpy()
        )

    def sample_paths(self, num, seed):
        z = torch.as_tensor(np.random.default_rng(seed).standard_normal((*self.coef.shape, num)))
        draws = self.coef[..., None] + torch.linalg.cholesky(self.cov) @ z
        return lambda X: self.offset + self.scale * torch.einsum("bf,mfs->sbm", self.phi(X), draws)
