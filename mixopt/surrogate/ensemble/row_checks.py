"""Checks on what is given, and the canonical order that makes answers permutation-equivariant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixopt.errors import SurrogateError
from mixopt.laws._arrays import Array
from mixopt.laws._lbfgs import Ints
from mixopt.space import Layout

_SUM_TOLERANCE = 1e-3


def check_rows(
    layout: Layout, X: Array, Y: Array, metrics: Sequence[str], domains: Sequence[str]
) -> tuple[Array, Array]:
    """Rows as float64, or an error that names the row and the metric or domain at fault.

    Raises:
        SurrogateError: On shapes that do not agree, non-finite numbers, negative weights or
            weights that do not sum to 1.
    """
    X, Y = np.asarray(X, dtype=float), np.asarray(Y, dtype=float)
    if Y.ndim != 2 or X.ndim != 2 or len(X) != len(Y):
        raise SurrogateError(
            f"X must be n x D and Y n x m with the same n; got {X.shape} and {Y.shape}",
            "one row per trial in both",
        )
    if Y.shape[1] != len(metrics) or len(domains) != layout.domains:
        raise SurrogateError(
            f"{Y.shape[1]} columns of losses and {layout.domains} domains need as many names; got "
            f"{len(metrics)} metric names and {len(domains)} domain names",
            "pass one name per column",
        )
    if Y.size < 1:
        raise SurrogateError(
            f"a surrogate needs at least one row and one metric; got losses of shape {Y.shape}",
            "tell some trials first",
        )
    for row, col in np.argwhere(~np.isfinite(Y)):
        raise SurrogateError(
            f"every loss must be finite; row {row} has {metrics[col]} = {Y[row, col]}",
            "leave the trial out, or mark it failed",
        )
    check_weights(layout, X, domains)
    return X, Y


def check_weights(layout: Layout, X: Array, domains: Sequence[str]) -> None:
    """Raise a SurrogateError naming the first row whose weights are no schedule."""
    for row, _ in np.argwhere(~np.isfinite(X)):
        raise SurrogateError(
            f"every weight must be finite; row {row} holds {X[row].tolist()}",
            "leave the row out or mend it",
        )
    W, F = layout.split(X)
    total = np.where(F > 0, W.sum(-1), 1.0)
    for row, phase in np.argwhere(np.abs(total - 1.0) > _SUM_TOLERANCE):
        raise SurrogateError(
            f"the weights of a phase must sum to 1; row {row}, phase {phase} sums to "
            f"{total[row, phase]:.4f}",
            "renormalise the row",
        )
    for row, phase, domain in np.argwhere((W < -1e-6) & (F > 0)[..., None]):
        raise SurrogateError(
            f"weights must not be negative; row {row}, phase {phase} gives {domains[domain]} "
            f"{W[row, phase, domain]:.4g}",
            "project the row onto the simplex",
        )
    for row in np.flatnonzero((np.abs(F.sum(-1) - 1.0) > _SUM_TOLERANCE) | (F.min(-1) < -1e-6)):
        raise SurrogateError(
            f"phase fractions must be non-negative and sum to 1; row {row} has {F[row].tolist()}",
            "encode schedules with geometry_of(space).encode",
        )


def check_groups(groups: Ints | None, n: int) -> Ints | None:
    """Trunk numbers of n rows, or a SurrogateError."""
    if groups is None:
        return None
    groups = np.asarray(groups)
    if groups.shape != (n,):
        raise SurrogateError(
            f"groups must hold the number of the trunk of each of the {n} rows; got shape "
            f"{groups.shape}",
            "give every row a number, one of its own where it shares no trunk",
        )
    return groups


def canonical_order(W: Array, F: Array, domains: Sequence[str]) -> Ints:
    """Order of the domains by what the rows hold, ties by name.

    Random starts are drawn in this order, so a permutation of the domains permutes the fit.
    """
    held = W * (F > 0)[..., None]
    keys = [tuple(held[:, :, j].ravel().tolist()) for j in range(W.shape[-1])]
    order = sorted(range(W.shape[-1]), key=lambda j: (keys[j], domains[j]))
    return np.array(order, dtype=np.int64)


def row_groups(W: Array, F: Array, R: Array) -> Ints:
    """Number of the group of rows with the same schedule, for each row."""
    held = np.concatenate([(W * (F > 0)[..., None]).reshape(len(W), -1), F, R], axis=1)
    return np.unique(np.round(held, 9), axis=0, return_inverse=True)[1].ravel().astype(np.int64)
