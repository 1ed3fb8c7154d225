"""Predict a larger size and a later step than any trained on, by ours and by nested laws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mixopt.bench.loglinear import fit_loglinear, loglinear
from mixopt.bench.nested_laws import nested_prediction
from mixopt.bench.tables import (
    PARAMETERS,
    STEP_TOKENS,
    TABLE_RULE,
    Array,
    BenchError,
    BenchTable,
    load_table,
    require_one_of,
)
from mixopt.propose.recommendation import Z95
from mixopt.surrogate import FidelityRows, RunRule, predict_target

#: Exponents scanned by the nested laws.
_EXPONENTS = np.geomspace(0.02, 4.0, 160)

Row = dict[str, Any]


class Forecast(NamedTuple):
    """The overall loss at g wanted rows.

    Args:
        mean: ``g`` (nats/token).
        sd: ``g`` standard deviations, where there is an interval.
        difference_sd: ``g x g`` standard deviations of the difference of two rows.
    """

    mean: Array
    sd: Array | None = None
    difference_sd: Array | None = None


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
        methods: ``mixopt`` (:func:`mixopt.surrogate.predict_target`), ``mixopt-unknown-rule`` (the
            same without the tables' learning-rate rule), ``nested-laws`` (step, size and mixing
            law one inside the other, as published), ``nested-laws-no-mixing`` (without the last of
            them), ``nested-laws-priors`` (the same with priors on floors and exponents) or
            ``last-seen`` (the largest size at the latest step trained on); all by default.

    Returns:
        Rows ``method, size, step, mixtures, train_rows, mae, bias, spearman, coverage95, sd``, and
        of the differences of two mixtures ``difference_mae, difference_coverage95, claimed`` (share
        of pairs told apart) and ``sign_right`` (share of those in the right order); errors and sd
        in nats/token, None without an interval.

    Raises:
        BenchError: If a name is unknown or the table lacks runs for it.
    """
    table = load_table(table) if isinstance(table, str) else table
    names = list(METHODS) if methods is None else list(methods)
    for name in names:
        require_one_of(name, METHODS, "a method")
    seen = _rows(table, _parameters(train_size), train_step, exact=False)
    wanted = _trained(_rows(table, _parameters(size), step, exact=True), seen)
    if wanted.parameters[0] <= seen.parameters.max() and wanted.steps[0] <= seen.steps.max():
        raise BenchError(
            f"{size} at step {step} lies within what is trained on", "predict something beyond it"
        )
    true = wanted.overall()
    return [
        _judge(name, METHODS[name](seen, wanted), true, len(seen), size, step) for name in names
    ]


def _parameters(size: str) -> float:
    require_one_of(size, PARAMETERS, "a size")
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


def _trained(wanted: BenchTable, seen: BenchTable) -> BenchTable:
    """The rows of ``wanted`` whose mixture was trained.

    Raises:
        BenchError: If there is none.
    """
    apart = np.abs(wanted.X[:, None] - seen.X).max(2).min(1)
    if not (apart < 1e-9).any():
        raise BenchError(
            "no mixture at the target was trained at smaller sizes and earlier steps",
            "widen what is trained on",
        )
    return wanted.take(apart < 1e-9)


def _judge(name: str, forecast: Forecast, true: Array, rows: int, size: str, step: int) -> Row:
    from scipy.stats import spearmanr

    mean, sd, _ = forecast
    error = mean - true
    ranked = len(true) > 2
    return {
        "method": name,
        "size": size,
        "step": step,
        "mixtures": len(true),
        "train_rows": rows,
        "mae": float(np.abs(error).mean()),
        "bias": float(error.mean()),
        "spearman": float(spearmanr(mean, true)[0]) if ranked else None,
        "coverage95": None if sd is None else float((np.abs(error) <= Z95 * sd).mean()),
        "sd": None if sd is None else float(sd.mean()),
        **_judged_differences(forecast, true),
    }


def _judged_differences(forecast: Forecast, true: Array) -> Row:
    mean, _, sd = forecast
    i, j = np.triu_indices(len(true), 1)
    gap, said = true[i] - true[j], mean[i] - mean[j]
    found: Row = {"difference_mae": float(np.abs(said - gap).mean()) if len(i) else None}
    if sd is None or not len(i):
        return found | dict.fromkeys(("difference_coverage95", "claimed", "sign_right"))
    claimed = np.abs(said) > Z95 * sd[i, j]
    right = np.sign(said[claimed]) == np.sign(gap[claimed])
    return found | {
        "difference_coverage95": float((np.abs(said - gap) <= Z95 * sd[i, j]).mean()),
        "claimed": float(claimed.mean()),
        "sign_right": float(right.mean()) if claimed.any() else None,
    }


def _target(seen: BenchTable, wanted: BenchTable) -> Forecast:
    """What ``predict_target`` says under the tables' learning-rate rule."""
    return _predicted(seen, wanted, TABLE_RULE)


def _target_unknown_rule(seen: BenchTable, wanted: BenchTable) -> Forecast:
    return _predicted(seen, wanted, None)


def _predicted(seen: BenchTable, wanted: BenchTable, rule: RunRule | None) -> Forecast:
    weights = seen.overall_weights
    got = predict_target(_places(seen), seen.Y, _places(wanted), rule=rule)
    pairs = range(len(wanted))
    apart = [[got.difference(i, j, weights)[1] for j in pairs] for i in pairs]
    return Forecast(*got.combined(weights), np.array(apart))


def _places(table: BenchTable) -> FidelityRows:
    """Rows of a table; one mixture at one size is one run."""
    keys = np.column_stack([np.round(table.X, 9), table.parameters])
    run = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    return FidelityRows(table.X, table.parameters, table.tokens, run)


def _last_seen(seen: BenchTable, wanted: BenchTable) -> Forecast:
    curves = _curves(seen, wanted)
    return Forecast(curves[-1, :, -1] @ seen.overall_weights)


def _nested(seen: BenchTable, wanted: BenchTable) -> Forecast:
    at_target = _at_target(seen, wanted)
    mixed = [loglinear(fit_loglinear(wanted.X, y), wanted.X) for y in at_target.T]
    return Forecast(np.stack(mixed, axis=1) @ seen.overall_weights)


def _nested_no_mixing(seen: BenchTable, wanted: BenchTable) -> Forecast:
    return Forecast(_at_target(seen, wanted) @ seen.overall_weights)


def _nested_priors(seen: BenchTable, wanted: BenchTable) -> Forecast:
    sizes, steps = np.unique(seen.parameters), np.unique(seen.steps)
    losses = np.transpose(_curves(seen, wanted), (1, 3, 0, 2))
    target = float(wanted.parameters[0]), float(wanted.tokens[0])
    at_target = nested_prediction(sizes, steps * STEP_TOKENS, losses, target)
    return Forecast(at_target @ seen.overall_weights)


METHODS: dict[str, Callable[[BenchTable, BenchTable], Forecast]] = {
    "mixopt": _target,
    "mixopt-unknown-rule": _target_unknown_rule,
    "nested-laws": _nested,
    "nested-laws-no-mixing": _nested_no_mixing,
    "nested-laws-priors": _nested_priors,
    "last-seen": _last_seen,
}


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
