"""The members of the stack: each predicts all metrics, and out of fold for its own judgement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from mixopt.laws import LAWS, SharedFit, SharedShape, Units, fit_law, fit_shared, shared_value
from mixopt.laws._arrays import Array, namespace
from mixopt.laws._lbfgs import Ints
from mixopt.laws.shared import mass_features
from mixopt.surrogate._data import Data
from mixopt.surrogate._gp import GP, Kernel, MassFeatures
from mixopt.surrogate._kernel import (
    Prior,
    fit_hyperparameters,
    leave_groups_out,
    squared_distance,
)

#: ``(W: n x P x d, F: n x P) -> n x m``, numpy or torch.
Mean = Callable[[Any, Any], Any]

#: Objective units over which restarts share their weight (one unit = one log posterior).
_TEMPERATURE = 100.0
#: Fits of the shared law whose class masses go into the kernel.
_KERNEL_FITS = 3
_LAW_ITERATIONS = 80


@dataclass(frozen=True)
class Member:
    """A fitted member.

    Args:
        name: As shown in the report.
        mean: Its prediction.
        out_of_fold: ``n x m`` predictions of rows it did not see.
        variance: ``n x m`` variances of those (noise included), for GPs.
        notes: Per metric, what it says about its own assumptions ('' where they hold).
        gp: The GP behind it, if any.
    """

    name: str
    mean: Mean
    out_of_fold: Array
    variance: Array | None = None
    notes: tuple[str, ...] = ()
    gp: GP | None = None


def law_member(data: Data, name: str, masks: Array, fold: Ints) -> Member:
    """Fit one single-metric law on all rows and once per fold."""
    every = np.vstack([np.ones((1, len(data.Y))), masks])
    rows = data.W, data.F, data.Y, data.own
    fits = fit_law(
        LAWS[name], *rows, restarts=2, iterations=_LAW_ITERATIONS, masks=every, seed=data.seed
    )
    out = np.empty_like(data.Y)
    for k, fit in enumerate(fits[1:]):
        out[fold == k] = fit.predict(data.W[fold == k], data.F[fold == k])
    return Member(name, fits[0].predict, out, notes=fits[0].notes)


@dataclass(frozen=True)
class SharedMembers:
    """The shared law fitted on all rows (``full``) and once per fold (``parts``)."""

    full: SharedFit
    parts: list[SharedFit]


def fit_shared_members(
    data: Data, masks: Array, classes: int, restarts: int, iterations: int
) -> SharedMembers:
    """Fit the shared law; folds get fewer restarts."""
    shape = SharedShape(data.own, len(data.domains), classes, data.W.shape[1])
    rows = data.W, data.F, data.Y
    full = fit_shared(shape, *rows, restarts=restarts, iterations=iterations, seed=data.seed)
    few = max(_KERNEL_FITS, restarts // 2)
    parts = fit_shared(
        shape, *rows, restarts=few, iterations=iterations, masks=masks, seed=data.seed
    )
    return SharedMembers(full[0], parts)


def _shared_mean(fit: SharedFit) -> Mean:
    weights = np.exp(-(fit.value - fit.value.min()) / _TEMPERATURE)
    weights /= weights.sum()

    def mean(W: Any, F: Any) -> Any:
        cast = namespace(W).asarray
        units = Units(cast(fit.scales.low), cast(fit.scales.sd))
        values = shared_value(fit.shape, units, cast(fit.theta), W, F)
        return (values * cast(weights)[:, None, None]).sum(0)

    return mean


def shared_member(data: Data, shared: SharedMembers, fold: Ints) -> Member:
    """The shared law as a member of its own."""
    out = np.empty_like(data.Y)
    for k, part in enumerate(shared.parts):
        out[fold == k] = _shared_mean(part)(data.W[fold == k], data.F[fold == k])
    return Member("shared law", _shared_mean(shared.full), out)


def warped_member(data: Data, fixed: Array, prior: Prior, iterations: int) -> Member:
    """The GP on warped weights alone, judged by closed-form leave-one-out."""
    theta = fit_hyperparameters(data.U, data.Z, fixed, prior, iterations)
    kernel = Kernel(torch.as_tensor(theta), data.U.shape[-1])
    gp = GP.condition(kernel, data.W, data.F, data.Z, fixed, data.offset, data.scale)
    mean, var = leave_groups_out(gp.inv.numpy(), data.Z, data.groups)
    out = data.offset + data.scale * mean
    return Member("warped GP", _gp_mean(gp), out, var * data.scale**2, gp=gp)


def _gp_mean(gp: GP) -> Mean:
    return lambda W, F: gp.mean(gp.kernel.embed(W, F))


def _masses(fit: SharedFit, unit: Array | None = None) -> tuple[MassFeatures, Array]:
    """Features of the best fits in units of ``unit`` (``m``), and the parameters they come from."""
    theta = torch.as_tensor(fit.theta[np.argsort(fit.value, kind="stable")[:_KERNEL_FITS]])
    scale = 1.0 if unit is None else 1.0 / torch.as_tensor(unit)[:, None, None]
    return lambda W, F: mass_features(fit.shape, theta, W, F) * scale, theta.numpy()


def _typical_distance(fit: SharedFit, theta: Array, W: Array, F: Array) -> Array:
    """``m`` root mean squared norms of the centred features, the kernel's unit of distance."""
    s = mass_features(fit.shape, theta, W, F)
    centred = s - s.mean(1, keepdims=True)
    return np.asarray(np.sqrt(np.maximum((centred**2).sum(-1).mean(-1), 1e-12)))


def law_gp_member(
    data: Data, shared: SharedMembers, fold: Ints, fixed: Array, prior: Prior, iterations: int
) -> Member:
    """The GP whose kernel also sees the shared law's class masses: law and residual in one model.

    Out of fold, the masses come from the law of the fold, which never saw the rows predicted; the
    hyperparameters are those of all rows.
    """
    _, best = _masses(shared.full)
    unit = _typical_distance(shared.full, best, data.W, data.F)
    s = mass_features(shared.full.shape, best, data.W, data.F) / unit[:, None, None]
    theta = fit_hyperparameters(
        data.U, data.Z, fixed, prior, iterations, law=squared_distance(s, s)
    )
    kernel = Kernel(torch.as_tensor(theta), data.U.shape[-1], _masses(shared.full, unit)[0])
    gp = GP.condition(kernel, data.W, data.F, data.Z, fixed, data.offset, data.scale)
    out, var = np.empty_like(data.Y), np.empty_like(data.Y)
    for k, part in enumerate(shared.parts):
        unit = _typical_distance(part, _masses(part)[1], data.W, data.F)
        kernel_k = replace(kernel, masses=_masses(part, unit)[0])
        out[fold == k], var[fold == k] = _held_out(data, kernel_k, fixed, fold == k)
    return Member("law GP", _gp_mean(gp), out, var, gp=gp)


def _held_out(data: Data, kernel: Kernel, fixed: Array, out: Any) -> tuple[Array, Array]:
    """Predictions and variances (noise included) of the rows ``out`` from all others."""
    rest = ~out
    rows = data.W[rest], data.F[rest], data.Z[rest], fixed[rest]
    gp = GP.condition(kernel, *rows, data.offset, data.scale)
    x = kernel.embed(torch.as_tensor(data.W[out]), torch.as_tensor(data.F[out]))
    noise = (kernel.noise.numpy() + fixed[out]) * data.scale**2
    return gp.mean(x).numpy(), gp.variance(x).numpy() + noise
