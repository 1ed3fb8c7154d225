"""The members of the stack: each predicts all metrics, and out of fold for its cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from mixopt.laws import LAWS, LawFit, SharedFit, SharedShape, fit_law, fit_shared
from mixopt.laws._arrays import Array, namespace
from mixopt.laws._lbfgs import Ints
from mixopt.laws.shared import mass_features
from mixopt.surrogate.ensemble.data import Data
from mixopt.surrogate.ensemble.gp import GP, Kernel, MassFeatures, switched
from mixopt.surrogate.ensemble.kernel import UNSEEN, Prior, fit_hyperparameters, squared_distance

#: ``(W: n x P x d, F: n x P, R: n x r) -> n x m``, numpy or torch. Laws do without the rates R.
Mean = Callable[[Any, Any, Any], Any]

#: Fits of the shared law whose class masses go into the kernel.
_KERNEL_FITS = 3
_LAW_ITERATIONS = 80
#: Prior sd of what the farthest switch costs, in sds of the losses.
_SWITCH_SD = 1.0
#: Steps of a fold's hyperparameters, from those of all rows.
_FOLD_STEPS = 20
#: Rows that hyperparameters are learned from, at most: their cost grows with the cube of the rows,
#: while the predictions use all rows in any case.
_MOST_ROWS = 160


@dataclass(frozen=True)
class Member:
    """A fitted member.

    Args:
        name: As shown in the report.
        mean: Its prediction.
        out_of_fold: ``n x m`` predictions of rows it did not see.
        variance: ``n x m`` variances of those (noise included), for GPs.
        latent: The same with the noise left out.
        notes: Per metric, what it says about its own assumptions ('' where they hold).
        gp: The GP behind it, if any.
        cross_validated: Whether there were folds; without, the predictions out of fold are all 0.
        kernels: Of a GP: that of all rows, then those of the folds.
        fold: ``n`` fold numbers.
    """

    name: str
    mean: Mean
    out_of_fold: Array
    variance: Array | None = None
    latent: Array | None = None
    notes: tuple[str, ...] = ()
    gp: GP | None = None
    cross_validated: bool = True
    kernels: tuple[Kernel, ...] = ()
    fold: Ints | None = None


class Fitted(Protocol):
    """A fitted law."""

    def predict(self, W: Any, F: Any) -> Any:
        """``n x m`` losses of schedules ``n x P x d``, ``n x P``."""


def fit_simple(data: Data, name: str, masks: Array) -> Sequence[LawFit]:
    """Fits of one single-metric law: to all rows, then to those of each fold."""
    every = np.vstack([np.ones((1, len(data.Y))), masks]) * data.trust
    rows = data.W, data.F, data.Y, data.own
    return fit_law(
        LAWS[name], *rows, restarts=2, iterations=_LAW_ITERATIONS, masks=every, seed=data.seed
    )


def fit_shared_law(
    data: Data, masks: Array, classes: int, restarts: int, iterations: int
) -> list[SharedFit]:
    """Fits of the shared law: to all rows, then to those of each fold from fewer starts."""
    shape = SharedShape(data.own, len(data.domains), classes, data.W.shape[1])
    rows = data.W, data.F, data.Y
    effort: dict[str, Any] = {"iterations": iterations, "seed": data.seed}
    trust = data.trust[None]
    fits = fit_shared(shape, *rows, restarts=restarts, masks=trust, **effort)
    few = max(_KERNEL_FITS, restarts // 2)
    if len(masks):
        fits += fit_shared(shape, *rows, restarts=few, masks=masks * trust, **effort)
    return fits


def law_member(data: Data, name: str, fits: Sequence[Fitted], fold: Ints) -> Member:
    """A law, and what a switch of the mixture costs beside it.

    Args:
        data: The rows.
        name: As shown in the report.
        fits: To all rows, then to those of each fold.
        fold: ``n`` fold numbers.
    """
    means = [_with_switch(data, fit, fold != k) for k, fit in enumerate(fits, start=-1)]
    out = np.zeros_like(data.Y)
    for k, mean in enumerate(means[1:]):
        out[fold == k] = mean(*(part[fold == k] for part in data.rows))
    return Member(name, means[0], out, notes=getattr(fits[0], "notes", ()))


def _with_switch(data: Data, fit: Fitted, seen: Any) -> Mean:
    """The law plus a multiple of how far the mixture switches, by ridge regression per metric.

    A law takes tokens as they come and knows no cost of an abrupt change.
    """
    if data.W.shape[1] == 1:
        return lambda W, F, _: fit.predict(W, F)
    W, F = data.W[seen], data.F[seen]
    s, left = switched(W, F), data.Y[seen] - fit.predict(W, F)
    noise = (left**2).mean(0) / data.scale**2 / _SWITCH_SD**2
    middle = s.mean(0)
    slope = ((s - middle) * (left - left.mean(0))).sum(0) / (((s - middle) ** 2).sum(0) + noise)

    def mean(W: Any, F: Any, _: Any) -> Any:
        cast = namespace(W).asarray
        return fit.predict(W, F) + (switched(W, F) - cast(middle)) * cast(slope)

    return mean


@dataclass(frozen=True)
class GPSetting:
    """What both GPs are given: folds, known noise, priors and effort.

    Args:
        fold: ``n`` fold numbers.
        fixed: ``n x m`` known noise variances, standardised.
        prior: Priors of the hyperparameters.
        iterations: L-BFGS steps; folds start at the end of all rows and need few.
    """

    fold: Ints
    fixed: Array
    prior: Prior
    iterations: int


def prior_member(data: Data, fixed: Array, prior: Prior) -> Member:
    """The warped GP with hyperparameters at their priors, for too few rows to learn from."""
    plain = data.R.shape[1]
    theta = fit_hyperparameters(data.U, data.Z.T, fixed.T, prior, 0, plain=plain)
    kernel = Kernel(torch.as_tensor(theta), data.U.shape[-1], plain=plain)
    gp = _condition(data, kernel, fixed)
    nothing = np.tile(data.offset, (len(data.Y), 1))
    x = gp.kernel.embed(*(torch.as_tensor(part) for part in data.rows))
    return Member("warped GP", _gp_mean(gp), nothing, gp.variance(gp.cross(x)).numpy(), gp=gp)


def warped_member(data: Data, setting: GPSetting) -> Member:
    """The GP on warped weights alone."""
    return _gp_member("warped GP", data, setting, None)


def law_gp_member(data: Data, setting: GPSetting, shared: Sequence[SharedFit]) -> Member:
    """The GP whose kernel also sees the shared law's class masses: law and residual in one model.

    Out of fold the masses come from the law of the fold, which never saw the rows predicted.
    """
    masses = [_masses(data, fit) for fit in shared]
    return _gp_member("law GP", data, setting, masses)


def _gp_member(
    name: str, data: Data, setting: GPSetting, masses: list[MassFeatures] | None
) -> Member:
    """Fit on all rows; refit with hyperparameters and masses per fold to predict out of fold."""
    folds, m = int(setting.fold.max()) + 1, len(data.metrics)
    theta = _hyperparameters(data, setting, masses, [0], None)
    parts = theta[:0]
    if folds:
        parts = _hyperparameters(data, setting, masses, list(range(1, folds + 1)), theta)
    kernels = [
        Kernel(torch.as_tensor(t), data.U.shape[-1], masses[g] if masses else None, data.R.shape[1])
        for g, t in enumerate(np.concatenate([theta, parts]).reshape(folds + 1, m, -1))
    ]
    return _conditioned(name, data, tuple(kernels), setting.fold, [setting.fixed] * len(kernels))


def _conditioned(
    name: str, data: Data, kernels: tuple[Kernel, ...], fold: Ints, fixed: list[Array]
) -> Member:
    """The GP of all rows and those of the folds, each with its noise beside its kernel's."""
    gp = _condition(data, kernels[0], fixed[0])
    out, var, latent = np.zeros_like(data.Y), np.ones_like(data.Y), np.ones_like(data.Y)
    for k, kernel in enumerate(kernels[1:]):
        rows = fold == k
        out[rows], latent[rows], noise = _held_out(data, kernel, fixed[k + 1], rows)
        var[rows] = latent[rows] + noise
    cross_validated = len(kernels) > 1
    return Member(
        name,
        _gp_mean(gp),
        out,
        var,
        latent,
        gp=gp,
        cross_validated=cross_validated,
        kernels=kernels,
        fold=fold,
    )


def with_noise(data: Data, member: Member, relative: Array) -> Member:
    """A GP conditioned anew with a noise that differs from row to row; other members as they are.

    Args:
        data: The rows.
        member: Its hyperparameters stay, its noise among them as that of the typical row.
        relative: ``n x m`` noise variances over that.
    """
    if not member.kernels or member.fold is None:
        return member
    beside = data.beside / data.scale**2
    fixed = [kernel.noise.numpy() * (relative - 1.0) + beside for kernel in member.kernels]
    return _conditioned(member.name, data, member.kernels, member.fold, fixed)


def _hyperparameters(
    data: Data,
    setting: GPSetting,
    masses: list[MassFeatures] | None,
    problems: list[int],
    start: Array | None,
) -> Array:
    """Hyperparameters of all metrics for each problem: 0 sees all rows, k + 1 not fold k."""
    kept = _kept(data)
    known = setting.fixed + data.extra
    hidden = [UNSEEN * (setting.fold[kept] == g - 1) for g in problems]
    fixed = np.concatenate([known[kept].T + h for h in hidden])
    law = None
    if masses is not None:
        s = [np.asarray(masses[g](data.W[kept], data.F[kept])) for g in problems]
        law = np.concatenate([squared_distance(a, a) for a in s])
    Z = np.tile(data.Z[kept].T, (len(problems), 1))
    steps = setting.iterations if start is None else min(setting.iterations, _FOLD_STEPS)
    start = None if start is None else np.tile(start, (len(problems), 1))
    return fit_hyperparameters(
        data.U[kept], Z, fixed, setting.prior, steps, law, start, data.R.shape[1]
    )


def _kept(data: Data) -> Ints:
    """Rows the hyperparameters are learned from: all, or a random choice of the most allowed."""
    n = len(data.Y)
    if n <= _MOST_ROWS:
        return np.arange(n)
    return np.sort(np.random.default_rng(data.seed).permutation(n)[:_MOST_ROWS])


def _condition(data: Data, kernel: Kernel, fixed: Array) -> GP:
    units = data.offset, data.scale
    return GP.condition(kernel, data.rows, data.Z, fixed, *units, data.shared)


def _gp_mean(gp: GP) -> Mean:
    return lambda W, F, R: gp.mean(gp.cross(gp.kernel.embed(W, F, R)))


def _masses(data: Data, fit: SharedFit) -> MassFeatures:
    """Class masses of the best fits, in units of their typical spread over the rows."""
    theta = fit.theta[np.argsort(fit.value, kind="stable")[:_KERNEL_FITS]]
    s = mass_features(fit.shape, theta, data.W, data.F)
    spread = ((s - s.mean(1, keepdims=True)) ** 2).sum(-1).mean(-1)
    unit = np.sqrt(np.maximum(spread, 1e-12))[:, None, None]

    def masses(W: Any, F: Any) -> Any:
        cast = namespace(W).asarray
        return mass_features(fit.shape, cast(theta), W, F) / cast(unit)

    return masses


def _held_out(data: Data, kernel: Kernel, fixed: Array, out: Any) -> tuple[Array, Array, Array]:
    """Predictions, variances and noise variances of the rows ``out`` from all others."""
    rest = ~out
    W, F, R = (part[rest] for part in data.rows)
    shared = None if data.shared is None else data.shared[:, rest]
    units = data.offset, data.scale
    gp = GP.condition(kernel, (W, F, R), data.Z[rest], fixed[rest], *units, shared)
    x = kernel.embed(*(torch.as_tensor(part[out]) for part in data.rows))
    noise = (kernel.noise.numpy() + fixed[out]) * data.scale**2
    K = gp.cross(x)
    variance = gp.variance(K).numpy() + data.extra[out] * data.scale**2
    return gp.mean(K).numpy(), variance, noise
