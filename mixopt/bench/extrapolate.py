"""Predict a larger size and a later step than any trained on, by ours and by nested laws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mixopt.bench.loglinear import fit_loglinear, loglinear
from mixopt.bench.nested_laws import nested_prediction
from mixopt.bench.tables import PARAMETERS, STEP_TOKENS, Array, BenchError, BenchTable, load_table
from mixopt.surrogate import predict_target

#: Exponents scanned by the nested laws.
_EXPONENTS = np.geomspace(0.02, 4.0, 160)
_Z95 = 1.959964

Row = dict[str, Any]
#: Mean and, where there is one, standard deviation of the overall loss at the wanted rows.
Forecast = tuple[Array, Array | None]


def extrapolate(
    table: BenchTable | str = "redpajama",
    *,
    train_size: str = "305M",
    train_step: int = 20_000,
    size: str = "410M",
    step: int = 30_000,
    methods: Sequence[str] | None = None,
) -> list[Row]:
    """Train on sizes and steps up to a bound, predict the overall loss beyond both.

    Args:
        table: The table, or its name; it must define the overall loss.
        train_size: Largest size trained on.
        train_step: Latest step trained on.
        size: Size to predict.
        step: Step to predict.
        methods: ``mixopt`` (:func:`mixopt.surrogate.predict_target`), ``nested-laws`` (step, size
            and mixing law one inside the other, as published), ``nested-laws-no-mixing`` (without
            the last of them), ``nested-laws-priors`` (the same with priors on floors and
            exponents) or ``last-seen`` (the largest size at the latest step trained on); all by
            default.

    Returns:
        Rows ``method, size, step, mixtures, train_rows, mae, bias, spearman, coverage95, sd``;
        ``mae``, ``bias`` and ``sd`` in nats/token, coverage and sd None without an interval.

    Raises:
        BenchError: If a name is unknown or the table lacks runs for it.
    """
    table = load_table(table) if isinstance(table, str) else table
    names = list(METHODS) if methods is None else list(methods)
    for name in names:
        if name not in METHODS:
            raise BenchError(
                f"a method must be one of {', '.join(METHODS)}; got {name!r}", "name one of them"
            )
    seen = _rows(table, _parameters(train_size), train_step, exact=False)
    wanted = _rows(table, _parameters(size), step, exact=True)
    if wanted.parameters[0] <= seen.parameters.max() and wanted.steps[0] <= seen.steps.max():
        raise BenchError(
            f"{size} at step {step} lies within what is trained on", "predict something beyond it"
        )
    true = wanted.overall()
    return [
        _judge(name, METHODS[name](seen, wanted), true, len(seen), size, step) for name in names
    ]


def _parameters(size: str) -> float:
    if size not in PARAMETERS:
        raise BenchError(
            f"a size must be one of {', '.join(PARAMETERS)}; got {size!r}", "name one of them"
        )
    return float(PARAMETERS[size])


def _rows(table: BenchTable, parameters: float, step: float, *, exact: bool) -> BenchTable:
    good = np.isfinite(table.X).all(1) & np.isfinite(table.Y).all(1)
    if exact:
        keep = (table.parameters == parameters) & (table.steps == step)
    else:
        keep = (table.parameters <= parameters) & (table.steps <= step)
    rows = np.flatnonzero(good & keep)
    if not len(rows):
        raise BenchError(
            f"the table {table.name!r} has no run at {parameters:.0f} parameters and step {step}",
            "choose a size and step it has",
        )
    return table.take(rows)


def _judge(name: str, forecast: Forecast, true: Array, rows: int, size: str, step: int) -> Row:
    from scipy.stats import spearmanr

    mean, sd = forecast
    error = mean - true
    return {
        "method": name,
        "size": size,
        "step": step,
        "mixtures": len(true),
        "train_rows": rows,
        "mae": float(np.abs(error).mean()),
        "bias": float(error.mean()),
        "spearman": float(spearmanr(mean, true)[0]),
        "coverage95": None if sd is None else float((np.abs(error) <= _Z95 * sd).mean()),
        "sd": None if sd is None else float(sd.mean()),
    }


def _target(seen: BenchTable, wanted: BenchTable) -> Forecast:
    """What ``predict_target`` says: one process per metric, its width and theirs back-tested."""
    sizes, steps = np.unique(seen.parameters), np.unique(seen.steps)
    losses = np.transpose(_curves(seen, wanted), (1, 3, 0, 2))
    target = float(wanted.parameters[0]), float(wanted.tokens[0])
    got = predict_target(sizes, steps * STEP_TOKENS, losses, target)
    weights = np.array([seen.weights.get(metric, 0.0) for metric in seen.metrics])
    return got.combined(weights / weights.sum())


def _last_seen(seen: BenchTable, wanted: BenchTable) -> Forecast:
    curves = _curves(seen, wanted)
    return _overall(seen, curves[-1, :, -1]), None


def _nested(seen: BenchTable, wanted: BenchTable) -> Forecast:
    at_target = _at_target(seen, wanted)
    mixed = [loglinear(fit_loglinear(wanted.X, y), wanted.X) for y in at_target.T]
    return _overall(seen, np.stack(mixed, axis=1)), None


def _nested_no_mixing(seen: BenchTable, wanted: BenchTable) -> Forecast:
    return _overall(seen, _at_target(seen, wanted)), None


def _nested_priors(seen: BenchTable, wanted: BenchTable) -> Forecast:
    sizes, steps = np.unique(seen.parameters), np.unique(seen.steps)
    losses = np.transpose(_curves(seen, wanted), (1, 3, 0, 2))
    target = float(wanted.parameters[0]), float(wanted.tokens[0])
    return _overall(seen, nested_prediction(sizes, steps * STEP_TOKENS, losses, target)), None


METHODS: dict[str, Callable[[BenchTable, BenchTable], Forecast]] = {
    "mixopt": _target,
    "nested-laws": _nested,
    "nested-laws-no-mixing": _nested_no_mixing,
    "nested-laws-priors": _nested_priors,
    "last-seen": _last_seen,
}


def _overall(table: BenchTable, Y: Array) -> Array:
    w = np.array([table.weights.get(metric, 0.0) for metric in table.metrics])
    return np.asarray(Y @ (w / w.sum()))


def _curves(seen: BenchTable, wanted: BenchTable) -> Array:
    """Losses of the wanted mixtures, ``sizes x mixtures x steps x m``.

    Raises:
        BenchError: If a mixture was not trained at every size and step.
    """
    sizes, steps = np.unique(seen.parameters), np.unique(seen.steps)
    out = np.full((len(sizes), len(wanted), len(steps), seen.Y.shape[1]), np.nan)
    for i, x in enumerate(wanted.X):
        for row in np.flatnonzero(np.abs(seen.X - x).max(1) < 1e-9):
            at = (
                np.searchsorted(sizes, seen.parameters[row]),
                np.searchsorted(steps, seen.steps[row]),
            )
            out[at[0], i, at[1]] = seen.Y[row]
    if np.isnan(out).any():
        raise BenchError(
            "the nested laws need every mixture they predict at every size and step trained on",
            "leave out the mixtures, sizes or steps that make holes",
        )
    return out


def _at_target(seen: BenchTable, wanted: BenchTable) -> Array:
    """Step law per size and mixture, then size law per mixture: ``mixtures x m``.

    The published pipeline ties the exponent of the step law over validation sets, and that of the
    size law over everything.
    """
    curves = np.moveaxis(_curves(seen, wanted), 2, -1)
    later = power_law(np.unique(seen.steps), curves, wanted.steps[0], tied=(2,))
    sizes = np.unique(seen.parameters)
    return power_law(sizes, np.moveaxis(later, 0, -1), wanted.parameters[0], tied=(0, 1))


def power_law(x: Array, Y: Array, target: float, tied: tuple[int, ...]) -> Array:
    """Extrapolate curves by L = E + (x0/x)^alpha, E and the rise not negative, to x = ``target``.

    Args:
        x: ``k`` positions.
        Y: ``... x k`` losses.
        target: Where to predict.
        tied: Axes over which curves share their exponent.

    Returns:
        Predictions, shaped as ``Y`` without its last axis.
    """
    error, value = [], []
    for exponent in _EXPONENTS:
        z = (x / x.max()) ** -exponent
        center = z - z.mean()
        rise = np.maximum((Y * center).sum(-1) / (center**2).sum(), 0.0)
        floor = Y.mean(-1) - rise * z.mean()
        through = (Y * z).sum(-1) / (z**2).sum()
        rise, floor = np.where(floor < 0, through, rise), np.maximum(floor, 0.0)
        error.append(((Y - floor[..., None] - rise[..., None] * z) ** 2).sum(-1))
        value.append(floor + rise * (target / x.max()) ** -exponent)
    axes = tuple(axis + 1 for axis in tied)
    best = np.stack(error).sum(axis=axes, keepdims=True).argmin(0, keepdims=True)
    best = np.broadcast_to(best, (1, *Y.shape[:-1]))
    return np.asarray(np.take_along_axis(np.stack(value), best, axis=0)[0])
