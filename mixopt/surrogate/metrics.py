"""Surrogates of metrics of any kind: modelled where errors are even, shown in their own units.

A perplexity is modelled by its logarithm, a loss; an accuracy by its log odds, with the binomial
noise of its questions. What is no loss has no mixing law: a Gaussian process alone predicts it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mixopt.errors import SurrogateError
from mixopt.laws._arrays import Array
from mixopt.laws._lbfgs import Ints
from mixopt.space import Layout
from mixopt.space.metric import LOSSES, Metric, MetricKind
from mixopt.surrogate.ensemble.stack import error_correlation
from mixopt.surrogate.ensemble.stack_model import as_posterior
from mixopt.surrogate.ensemble.surrogate import Surrogate, SurrogateSettings, fit_surrogate
from mixopt.surrogate.protocol import Prediction, SurrogateRow

#: Questions assumed behind an accuracy that does not say: what keeps 0 and 1 off infinity.
_QUESTIONS = 10_000


@dataclass(frozen=True)
class Link:
    """From a metric's values to the scale on which it is modelled, and back.

    Args:
        metric: What it is.
    """

    metric: Metric

    @property
    def direct(self) -> bool:
        """Whether values are modelled as they are."""
        return self.metric.kind not in (MetricKind.perplexity, MetricKind.accuracy)

    @property
    def questions(self) -> int:
        """Questions behind an accuracy."""
        return self.metric.n or _QUESTIONS

    def forward(self, y: Array) -> Array:
        """Modelled values; of an accuracy the log odds, half a question added on either side."""
        if self.metric.kind == MetricKind.perplexity:
            return np.log(y)
        if self.metric.kind == MetricKind.accuracy:
            n = self.questions
            return np.log((y * n + 0.5) / (n - y * n + 0.5))
        return y

    def variance(self, y: Array) -> Array:
        """Variance of the modelled values that the questions explain."""
        if self.metric.kind != MetricKind.accuracy:
            return np.zeros_like(y)
        n = self.questions
        return 1.0 / (y * n + 0.5) + 1.0 / (n - y * n + 0.5)

    def inverse(self, z: Tensor) -> Tensor:
        """The metric's own values."""
        if self.metric.kind == MetricKind.perplexity:
            return z.exp()
        if self.metric.kind == MetricKind.accuracy:
            return ((self.questions + 1) * torch.sigmoid(z) - 0.5) / self.questions
        return z

    def slope(self, z: Tensor) -> Tensor:
        """Derivative of :meth:`inverse`."""
        if self.metric.kind == MetricKind.perplexity:
            return z.exp()
        if self.metric.kind == MetricKind.accuracy:
            p = torch.sigmoid(z)
            return (self.questions + 1) / self.questions * p * (1 - p)
        return torch.ones_like(z)

    def luck(self, y: Array) -> Array:
        """Variance of one measurement of an accuracy, in its own unit."""
        if self.metric.kind != MetricKind.accuracy or self.metric.n is None:
            return np.zeros_like(y)
        p = np.clip(y, 0.0, 1.0)
        return p * (1 - p) / self.metric.n


@dataclass(frozen=True)
class MetricSurrogate:
    """Surrogates on their modelled scales, asked and answering in the metrics' own units.

    Standard deviations and covariances are carried over by the slope of the link at the mean; draws
    are carried over exactly.

    Args:
        metrics: Names of the m metrics.
        parts: Surrogates of some of the metrics each: those with laws and those without.
        links: Of the m metrics.
        Y: ``n x m`` values learned from.
    """

    metrics: tuple[str, ...]
    parts: tuple[Surrogate, ...]
    links: tuple[Link, ...]
    Y: Array

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the d domains."""
        return self.parts[0].domains

    @property
    def layout(self) -> Layout:
        """Meaning of the columns of a row."""
        return self.parts[0].layout

    @cached_property
    def _order(self) -> list[int]:
        """Places of the m metrics among those of the parts, one part after the other."""
        names = [name for part in self.parts for name in part.metrics]
        return [names.index(name) for name in self.metrics]

    def _joined(self, parts: Sequence[Any]) -> Any:
        """Values of the parts' metrics in the last dimension, in the order of the metrics."""
        return torch.cat([torch.as_tensor(part) for part in parts], dim=-1)[..., self._order]

    def _linked(self, z: Tensor, how: str) -> Tensor:
        each = [getattr(link, how)(z[..., i]) for i, link in enumerate(self.links)]
        return torch.stack(each, dim=-1)

    def _luck(self, mean: Array) -> Array:
        return np.stack([link.luck(mean[:, i]) for i, link in enumerate(self.links)], axis=-1)

    def _own_units(self, found: Sequence[Prediction]) -> Prediction:
        """Predictions of the parts in the metrics' own units."""
        z = self._joined([part.mean for part in found])
        mean, slope = self._linked(z, "inverse").numpy(), self._linked(z, "slope").numpy()
        sd = slope * self._joined([part.sd for part in found]).numpy()
        noisy = slope * self._joined([part.observation_sd for part in found]).numpy()
        return Prediction(mean, sd, np.sqrt(noisy**2 + self._luck(mean)))

    @cached_property
    def _typical(self) -> Array:
        """``m`` slopes at the middle of what was learned from."""
        z = np.stack([link.forward(y) for link, y in zip(self.links, self.Y.T, strict=True)])
        middle = torch.as_tensor(np.median(z, axis=1))
        return np.asarray(self._linked(middle, "slope").numpy())

    @property
    def noise_sd(self) -> Array:
        """``m`` standard deviations of one observation's noise."""
        own = self._typical * self._joined([part.noise_sd for part in self.parts]).numpy()
        return np.asarray(np.sqrt(own**2 + self._luck(np.median(self.Y, axis=0)[None])[0]))

    @property
    def level(self) -> Array:
        """``m x m`` covariance of what moves all predictions alike, at a typical value."""
        # Each part's level is known apart from the others'.
        whole, start = np.zeros((len(self.metrics),) * 2), 0
        for part in self.parts:
            end = start + len(part.metrics)
            whole[start:end, start:end] = part.level
            start = end
        own = whole[np.ix_(self._order, self._order)]
        return np.asarray(own * self._typical[:, None] * self._typical)

    @cached_property
    def correlation(self) -> Array:
        """``m x m`` correlation of the metrics' errors, from what was seen out of fold."""
        found = self.out_of_fold
        if found is None:
            return np.eye(len(self.metrics))
        return error_correlation((self.Y - found.mean) / found.observation_sd)

    @cached_property
    def out_of_fold(self) -> Prediction | None:
        """Predictions of the training rows by fits without them; None without cross-validation."""
        seen = [part.out_of_fold for part in self.parts]
        known = [found for found in seen if found is not None]
        return self._own_units(known) if len(known) == len(seen) else None

    @property
    def repairs(self) -> tuple[str, ...]:
        """What had to be jittered or replaced for the fit to exist, in sentences."""
        return tuple(line for part in self.parts for line in part.repairs)

    def predict(self, X: Array) -> Prediction:
        """Predict rows ``n x D``."""
        return self._own_units([part.predict(X) for part in self.parts])

    def posterior(self, X: Tensor, **kwargs: Any) -> Any:
        """BoTorch posterior at ``batch_shape x q x D``, linear about the mean."""
        transform = kwargs.pop("posterior_transform", None)
        found = [_marginals(part.posterior(X, **kwargs), part) for part in self.parts]
        z = self._joined([mean for mean, _ in found])
        cov = torch.cat([cov for _, cov in found], dim=-3)[..., self._order, :, :]
        slope = self._linked(z, "slope").transpose(-1, -2)
        cov = cov * slope[..., :, None] * slope[..., None, :]
        mean = self._linked(z, "inverse").transpose(-1, -2)
        posterior = as_posterior(mean, cov, torch.as_tensor(self.correlation))
        return posterior if transform is None else transform(posterior)

    def sample_paths(self, num: int, seed: int) -> Callable[[Tensor], Tensor]:
        """Posterior draws as functions ``batch x D -> num x batch x m``."""
        paths = [part.sample_paths(num, seed + k) for k, part in enumerate(self.parts)]
        return lambda X: self._linked(self._joined([path(X) for path in paths]), "inverse")

    def only(self, metrics: Sequence[str]) -> MetricSurrogate:
        """The surrogate of some of its metrics, in the order given."""
        which = [self.metrics.index(name) for name in metrics]
        named = [[name for name in metrics if name in part.metrics] for part in self.parts]
        parts = [part.only(names) for part, names in zip(self.parts, named, strict=True) if names]
        links = tuple(self.links[i] for i in which)
        return MetricSurrogate(tuple(metrics), tuple(parts), links, self.Y[:, which])

    def report(self) -> tuple[SurrogateRow, ...]:
        """One row per metric, errors in its own unit; none where nothing was cross-validated."""
        found = self.out_of_fold
        if found is None:
            return ()
        rows = {row.metric: row for part in self.parts for row in part.report()}
        errors = np.sqrt(((self.Y - found.mean) ** 2).mean(0))
        level = np.sqrt(np.diagonal(self.level))
        return tuple(
            rows[name].model_copy(
                update={
                    "rmse": float(errors[i]),
                    "errors": rows[name].errors if self.links[i].direct else {},
                    "level_sd": float(level[i]),
                    "coverage": float(_covered(self.Y[:, i], found, i)),
                }
            )
            for i, name in enumerate(self.metrics)
        )


def _covered(y: Array, found: Prediction, i: int) -> float:
    return float((np.abs(y - found.mean[:, i]) <= 1.96 * found.observation_sd[:, i]).mean())


def _marginals(posterior: Any, part: Surrogate) -> tuple[Tensor, Tensor]:
    """Means ``... x q x k`` and each metric's own covariance ``... x k x q x q``."""
    k, mean = len(part.metrics), posterior.mean
    q = mean.shape[-2]
    cov = posterior.distribution.covariance_matrix
    if k == 1:
        return mean, cov[..., None, :, :]
    own = cov.reshape(*cov.shape[:-2], q, k, q, k).diagonal(dim1=-3, dim2=-1)
    return mean, own.movedim(-1, -3)


def fit_metrics(
    layout: Layout,
    X: Array,
    Y: Array,
    metrics: Sequence[str],
    domains: Sequence[str],
    *,
    kinds: Mapping[str, Metric],
    seed: int = 0,
    uncertainty: Array | None = None,
    groups: Ints | None = None,
    settings: SurrogateSettings | None = None,
) -> Surrogate | MetricSurrogate:
    """Learn how metrics of any kind respond to schedules.

    Args:
        layout: Meaning of the columns of X.
        X: ``n x D`` schedules.
        Y: ``n x m`` values, each in its own unit.
        metrics: m names.
        domains: d names.
        kinds: What the metrics are; losses in nats per token where nothing is said.
        seed: Of random starts and folds.
        uncertainty: As for :func:`mixopt.surrogate.fit_surrogate`, in the metrics' own units.
        groups: As for that.
        settings: Effort and priors.

    Raises:
        SurrogateError: If a value cannot be one of its kind, and as ``fit_surrogate``.
    """
    known = [kinds.get(name, Metric()) for name in metrics]
    for name, metric, values in zip(metrics, known, np.asarray(Y).T, strict=True):
        if complaint := metric.complaint(values):
            raise SurrogateError(f"{name}: {complaint}", "mend the values, or name another kind")
    options: dict[str, Any] = {"seed": seed, "groups": groups}
    if all(m.kind in (MetricKind.loss, MetricKind.bits_per_byte) for m in known):
        options |= {"uncertainty": uncertainty, "settings": settings}
        return fit_surrogate(layout, X, Y, metrics, domains, **options)
    links = tuple(map(Link, known))
    Z = np.stack([link.forward(y) for link, y in zip(links, Y.T, strict=True)], axis=1)
    noise = np.stack([link.variance(y) for link, y in zip(links, Y.T, strict=True)], axis=1)
    settings = settings or SurrogateSettings()
    slope = [link.slope(torch.as_tensor(z)).numpy() for link, z in zip(links, Z.T, strict=True)]
    beside = None if uncertainty is None else uncertainty / np.stack(slope, axis=1) ** 2
    parts = []
    for lawful in (True, False):
        which = [i for i, m in enumerate(known) if (m.kind in LOSSES) == lawful]
        if which:
            # A known variance, even of 0, keeps the noise from being learned by row.
            given = noise[:, which] if noise[:, which].any() else None
            own = settings if lawful else replace(settings, laws=())
            names = [metrics[i] for i in which]
            part = (layout, X, Z[:, which], names, domains)
            options["uncertainty"] = None if beside is None else beside[:, which]
            parts.append(fit_surrogate(*part, Yvar=given, settings=own, **options))
    return MetricSurrogate(tuple(metrics), tuple(parts), links, np.asarray(Y, dtype=float))
