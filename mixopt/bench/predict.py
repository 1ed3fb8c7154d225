"""How well do surrogates predict runs they never saw, from few runs? A leak-free replay."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from mixopt.bench.designs import design_rows
from mixopt.bench.methods import SURROGATES, Forecast, Predictor, Task, surrogate
from mixopt.bench.tables import Array, BenchError, BenchTable, Ints, load_table
from mixopt.propose.recommendation import Z95

#: Share of the rows held out, each repeat anew, where the table has no test split of its own.
_HELD_OUT = 1 / 3

Row = dict[str, Any]


def parse_counts(text: str) -> list[int]:
    """Numbers of training rows, as ``32,64,128``.

    Raises:
        BenchError: If a part is no positive number.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise BenchError(
            f"numbers of training rows must be positive, parted by commas; got {text!r}",
            "write 32,64,128",
        )
    return [int(part) for part in parts]


def predict(
    table: BenchTable | str,
    *,
    train: Sequence[int] = (32, 64, 128),
    design: str = "random",
    repeats: int = 10,
    surrogates: Sequence[str] | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> list[Row]:
    """Train each surrogate on subsets of a table and judge it on the table's test rows.

    Subsets come from the training rows alone and are the same for all surrogates. Test rows are
    seen by nobody; a table without a split has a third of its rows held out, anew each repeat.

    Args:
        table: The table, or its name. Of several sizes and steps the densest is used.
        train: Numbers of training rows.
        design: How they are chosen; see :func:`mixopt.bench.designs.design_rows`.
        repeats: Subsets per number.
        surrogates: Names; all by default.
        seed: Of the subsets and fits.
        progress: Told one line per fit.

    Returns:
        Rows ``surrogate, train, metric, spearman, mse, regret, coverage95, coverage95_unused,
        seconds, repeats, spearman_se``, values averaged over the subsets. ``metric`` is one of the
        table's or ``mean``: the mean of all metrics' values, except that its regret is that of
        the mean loss. ``mse`` in squared nats/token, ``regret`` in nats/token (true loss of the
        test row predicted best, less the least), coverage None without intervals, and
        ``coverage95_unused`` on the training rows left out. ``seconds`` is one fit of all metrics.

    Raises:
        BenchError: If a name is unknown or the table is too small.
    """
    part = (load_table(table) if isinstance(table, str) else table).densest()
    names = list(SURROGATES) if surrogates is None else list(surrogates)
    fits = {name: surrogate(name) for name in names}
    if repeats < 1:
        raise BenchError(f"a replay needs at least 1 repeat; got {repeats}", "ask for more")
    scores = []
    for n in train:
        for repeat in range(repeats):
            pool, test = _split(part, seed + repeat)
            chosen = design_rows(design, part.X[pool], n, seed + repeat)
            rows, unused = pool[chosen], np.delete(pool, chosen)
            task = Task(part.X[rows], part.Y[rows], part.metrics, part.domains, seed + repeat)
            for name, fit in fits.items():
                found = _fit_and_judge(fit, task, part, test, unused)
                scores.append(pd.DataFrame({"surrogate": name, "train": n} | found))
                if progress is not None:
                    progress(f"{name} n={n} {repeat + 1}/{repeats} {found['seconds']:.1f} s")
    groups = pd.concat(scores).groupby(["surrogate", "train", "metric"], sort=False)
    means = groups.mean().assign(repeats=repeats, spearman_se=groups["spearman"].sem())
    plain: Any = means.reset_index().astype(object).replace(np.nan, None)
    found_rows: list[Row] = plain.to_dict("records")
    return found_rows


def _fit_and_judge(
    fit: Callable[[Task], Predictor], task: Task, part: BenchTable, test: Ints, unused: Ints
) -> dict[str, Any]:
    """Each figure for every metric and the mean, and the seconds of the fit."""
    begun = time.perf_counter()
    model = fit(task)
    seconds = time.perf_counter() - begun
    figures = _judge(model(part.X[test]), part.Y[test])
    figures["coverage95_unused"] = _covered(model(part.X[unused]), part.Y[unused])
    return {"metric": [*part.metrics, "mean"], **figures, "seconds": seconds}


def _split(table: BenchTable, seed: int) -> tuple[Ints, Ints]:
    test = np.flatnonzero(table.role == "test")
    if len(test):
        return np.flatnonzero(table.role == "train"), test
    order = np.random.default_rng([seed, 1]).permutation(len(table))
    cut = round(_HELD_OUT * len(table))
    if cut < 1:
        raise BenchError(
            f"a table must have at least 2 mixtures of one size; {table.name!r} has {len(table)}",
            "use a larger table",
        )
    return order[cut:], order[:cut]


def _judge(forecast: Forecast, Y: Array) -> dict[str, Array]:
    """Each figure for every metric and, last, for ``mean``: ``m + 1`` numbers."""
    mean = forecast.mean
    rank = np.array([_spearman(a, b) for a, b in zip(mean.T, Y.T, strict=True)])
    mse = ((mean - Y) ** 2).mean(0)
    regret = [_regret(a, b) for a, b in zip(mean.T, Y.T, strict=True)]
    return {
        "spearman": np.append(rank, rank.mean()),
        "mse": np.append(mse, mse.mean()),
        "regret": np.append(regret, _regret(mean.mean(1), Y.mean(1))),
        "coverage95": _covered(forecast, Y),
    }


def _spearman(a: Array, b: Array) -> float:
    # A constant has no ranks: it orders nothing, so it scores nothing.
    return float(spearmanr(a, b)[0]) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0


def _regret(predicted: Array, true: Array) -> float:
    return float(true[np.argmin(predicted)] - true.min())


def _covered(forecast: Forecast, Y: Array) -> Array:
    if forecast.sd is None or len(Y) == 0:
        return np.full(Y.shape[1] + 1, np.nan)
    inside = (np.abs(Y - forecast.mean) <= Z95 * forecast.sd).mean(0)
    return np.append(inside, inside.mean())
