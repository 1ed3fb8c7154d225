"""Fitting and asking the surrogate: the one place where its parts meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from mixopt.errors import SurrogateError
from mixopt.laws._arrays import Array
from mixopt.laws._lbfgs import Ints
from mixopt.laws.shared import SharedShape
from mixopt.space import Layout
from mixopt.surrogate._kernel import (
    Prior,
    covariance,
    fit_hyperparameters,
    inverse,
    leave_groups_out,
    noise_variance,
    prior_vectors,
)
from mixopt.surrogate._members import LawMember, shared_member
from mixopt.surrogate._model import GPState, SamplePaths, StackModel, features
from mixopt.surrogate._rows import canonical_order, check_rows, check_weights, row_groups
from mixopt.surrogate._stack import calibration, fold_masks, stack_weights


@dataclass(frozen=True)
class SurrogateSettings:
    """How much work a fit does.

    Args:
        classes: Latent token classes K of the shared law; None chooses by the number of domains.
        restarts: Starts of the shared law, averaged.
        iterations: L-BFGS steps of the shared law.
        folds: Folds for judging the law members out of fold.
        gp_iterations: L-BFGS steps of the GP's hyperparameters.
        least_rows: Distinct schedules below which laws are left out and the GP keeps its prior.
        prior: Priors of the GP's hyperparameters.
    """

    classes: int | None = None
    restarts: int = 8
    iterations: int = 300
    folds: int = 5
    gp_iterations: int = 100
    least_rows: int = 6
    prior: Prior = field(default_factory=Prior)


@dataclass(frozen=True)
class Prediction:
    """Predicted losses in nats/token, each ``n x m``.

    Args:
        mean: Of the loss.
        sd: Of the latent, noise-free loss.
        observation_sd: Of one new observation, noise included.
    """

    mean: Array
    sd: Array
    observation_sd: Array


@dataclass(frozen=True)
class Surrogate:
    """A fitted surrogate of all metrics; make one with :func:`fit_surrogate`.

    Args:
        metrics: Names of the m metrics.
        domains: Names of the d domains.
        model: The BoTorch model behind it.
        noise_sd: ``m`` standard deviations of the observation noise (nats/token).
        rows: The report's rows.
    """

    metrics: tuple[str, ...]
    domains: tuple[str, ...]
    model: StackModel
    noise_sd: Array
    rows: tuple[dict[str, Any], ...]

    def predict(self, X: Array) -> Prediction:
        """Predict schedules.

        Args:
            X: ``n x D`` rows.

        Raises:
            SurrogateError: If a row is no schedule.
        """
        X = np.atleast_2d(np.asarray(X, dtype=float))
        check_weights(self.model.layout, X, self.domains)
        with torch.no_grad():
            T = torch.as_tensor(X)
            mean = self.model.mean(T).numpy()
            var = self.model.gp.variance(features(*self.model.split(T))).numpy()
        var = var * self.model.inflate.numpy() ** 2
        return Prediction(mean, np.sqrt(var), np.sqrt(var + self.noise_sd**2))

    def posterior(self, X: Tensor, **kwargs: Any) -> Any:
        """BoTorch posterior over the m metrics at ``batch_shape x q x D``; see the model."""
        return self.model.posterior(X, **kwargs)

    def sample_paths(self, num: int, seed: int) -> Callable[[Tensor], Tensor]:
        """``num`` posterior draws as functions ``batch x D -> num x batch x m``."""
        return SamplePaths(self.model, num, seed)

    def report(self) -> list[dict[str, Any]]:
        """One row per metric: stack weights, out-of-fold figures, and why it fell back if it did.

        ``spearman`` and ``rmse`` (nats/token) are out of fold, ``coverage`` is that of the 95 %
        intervals out of fold, ``fallback`` is '' or a reason.
        """
        return [dict(row) for row in self.rows]


def fit_surrogate(
    layout: Layout,
    X: Array,
    Y: Array,
    metrics: Sequence[str],
    domains: Sequence[str],
    *,
    seed: int = 0,
    Yvar: Array | None = None,
    settings: SurrogateSettings | None = None,
) -> Surrogate:
    """Learn how the metrics' losses respond to schedules.

    Rows with the same schedule are taken as replicates. Permuting the domains (columns and names)
    permutes the answer exactly, since random starts follow an order given by the data.

    Args:
        layout: Meaning of the columns of X.
        X: ``n x D`` schedules.
        Y: ``n x m`` losses (nats/token).
        metrics: m names; a metric named like a domain is taken as that domain's validation loss.
        domains: d names.
        seed: Of random starts and folds.
        Yvar: ``n x m`` known observation variances (squared nats/token), if any.
        settings: Effort and priors.

    Raises:
        SurrogateError: If a row is not finite or no schedule, or shapes and names disagree.
    """
    settings = settings or SurrogateSettings()
    X, Y = check_rows(layout, X, Y, metrics, domains)
    W, F = layout.split(X)
    order = canonical_order(W, F, domains)
    data = _Data(W[..., order], F, Y, tuple(metrics), tuple(domains[j] for j in order), seed)
    gp = _fit_gp(data, _known_noise(Yvar, Y), settings)
    laws = _fit_laws(data, settings) if data.distinct >= settings.least_rows else []
    return _assemble(layout, order, data, gp, laws, tuple(domains))


class _Data:
    """Rows in canonical order and what is derived from them once."""

    def __init__(
        self, W: Array, F: Array, Y: Array, metrics: tuple[str, ...], domains: Any, seed: int
    ) -> None:
        self.W, self.F, self.Y, self.metrics, self.domains = W, F, Y, metrics, domains
        self.seed = seed
        self.U = features(W, F)
        self.groups: Ints = row_groups(W, F)
        self.distinct = len(np.unique(self.groups))
        self.offset, spread = Y.mean(0), Y.std(0)
        self.constant = spread <= 1e-9 * np.maximum(1.0, np.abs(self.offset))
        # A constant metric has no scale of its own: a percent of its level, and a tenth when only
        # one schedule was seen and nothing is known of how it varies.
        share = 0.01 if self.distinct > 1 else 0.1
        self.scale = np.where(self.constant, share * np.maximum(1.0, np.abs(self.offset)), spread)
        self.Z = (Y - self.offset) / self.scale

    @property
    def own(self) -> tuple[int, ...]:
        """For each metric the number of its own domain, or -1."""
        return tuple(self.domains.index(k) if k in self.domains else -1 for k in self.metrics)


@dataclass(frozen=True)
class _GP:
    state: GPState
    out_of_fold: Array
    variance: Array
    noise_sd: Array


def _known_noise(Yvar: Array | None, Y: Array) -> Array:
    if Yvar is None:
        return np.zeros_like(Y)
    Yvar = np.asarray(Yvar, dtype=float)
    if Yvar.shape != Y.shape or not np.isfinite(Yvar).all() or (Yvar < 0).any():
        raise SurrogateError(
            f"Yvar must hold one non-negative variance per loss ({Y.shape}); got {Yvar.shape}",
            "pass squared standard errors, or None to have the noise estimated",
        )
    return Yvar


def _fit_gp(data: _Data, known: Array, settings: SurrogateSettings) -> _GP:
    fixed, level = known / data.scale**2, np.zeros_like(data.Y)
    if data.distinct >= settings.least_rows:
        theta = fit_hyperparameters(
            data.U, data.Z, level, fixed, settings.prior, settings.gp_iterations
        )
    else:
        mean, _ = prior_vectors(data.U.shape[-1], settings.prior)
        theta = np.tile(mean, (data.Y.shape[1], 1))
    noise = noise_variance(theta, level) + fixed.T
    K = covariance(theta, data.U, data.U)
    K[:, np.arange(len(data.Y)), np.arange(len(data.Y))] += noise
    inv, _ = inverse(K)
    mean, var = leave_groups_out(inv, data.Z, data.groups)
    alpha = (inv @ data.Z.T[..., None])[..., 0]
    arrays = (data.U, theta, inv, alpha, noise, data.offset, data.scale)
    state = GPState(*(torch.as_tensor(a) for a in arrays))
    noise_sd = np.sqrt(noise.mean(1)) * data.scale
    return _GP(state, data.offset + data.scale * mean, var * data.scale**2, noise_sd)


def _fit_laws(data: _Data, settings: SurrogateSettings) -> list[LawMember]:
    d = len(data.domains)
    classes = settings.classes or int(np.clip(2 * d, 12, 48))
    shape = SharedShape(data.own, d, classes, data.W.shape[1])
    masks, fold = fold_masks(data.groups, settings.folds, data.seed)
    return [
        shared_member(
            shape,
            data.W,
            data.F,
            data.Y,
            masks,
            fold,
            restarts=settings.restarts,
            iterations=settings.iterations,
            seed=data.seed,
        )
    ]


_DEFAULT_WEIGHTS = {"shared law": 0.6}


def _assemble(
    layout: Layout,
    order: Ints,
    data: _Data,
    gp: _GP,
    laws: list[LawMember],
    domains: tuple[str, ...],
) -> Surrogate:
    names = [law.name for law in laws] + ["warped GP"]
    oof = np.stack([law.out_of_fold for law in laws] + [gp.out_of_fold])
    default = np.array([_DEFAULT_WEIGHTS.get(n, 0.0) for n in names])
    default[-1] = 1.0 - default[:-1].sum()
    weights = np.stack(
        [
            stack_weights(oof[:, :, i], data.Y[:, i], default, list(range(len(names))))
            if laws and not data.constant[i]
            else np.eye(len(names))[-1]
            for i in range(len(data.metrics))
        ],
        axis=1,
    )
    predicted = np.einsum("km,knm->nm", weights, oof)
    enough = bool(laws)
    inflate = calibration(data.Y - predicted, gp.variance) if enough else np.ones(len(weights.T))
    inflate = np.where(data.constant, 1.0, inflate)
    noise_sd = gp.noise_sd * inflate
    model = StackModel(
        layout, order, [law.mean for law in laws], weights, gp.state, inflate, noise_sd**2
    )
    rows = _report_rows(data, names, weights, predicted, np.sqrt(gp.variance) * inflate)
    return Surrogate(data.metrics, domains, model, noise_sd, tuple(rows))


def _report_rows(
    data: _Data, names: list[str], weights: Array, predicted: Array, sd: Array
) -> list[dict[str, Any]]:
    rows = []
    for i, metric in enumerate(data.metrics):
        error = data.Y[:, i] - predicted[:, i]
        ranked = len(error) > 2 and not data.constant[i] and np.ptp(predicted[:, i]) > 0
        rows.append(
            {
                "metric": metric,
                **{
                    f"weight {name}": float(w) for name, w in zip(names, weights[:, i], strict=True)
                },
                "spearman": float(spearmanr(data.Y[:, i], predicted[:, i])[0]) if ranked else 0.0,
                "rmse": float(np.sqrt((error**2).mean())),
                "coverage": float((np.abs(error) <= 1.96 * sd[:, i]).mean()),
                "fallback": _fallback(data, names, i),
            }
        )
    return rows


def _fallback(data: _Data, names: list[str], i: int) -> str:
    if data.constant[i]:
        return "the metric never changes: predicted by its constant"
    if len(names) == 1:
        return f"only {data.distinct} different schedules: prior mean and prior width"
    return ""
