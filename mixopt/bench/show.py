"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

_PREDICT = (
    "surrogate",
    "train",
    "metric",
    "spearman",
    "mse",
    "regret",
    "coverage95",
    "coverage95_unused",
    "seconds",
)
_SEARCH = ("method", "objective", "trials_to_top1", "reached", "regret_final", "seconds")
_EXTRAPOLATE = ("method", "size", "step", "mae", "bias", "spearman", "coverage95")
_CRITICAL = ("step", "critical_share", "low", "high")


def predict_table(rows: Sequence[Mapping[str, Any]], *, metrics: bool = False) -> Table:
    """The prediction replay; the means alone, or every metric."""
    kept = [row for row in rows if metrics or row["metric"] == "mean"]
    return _table("predicting runs not seen (losses in nats/token)", _PREDICT, kept)


def search_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The search replay."""
    return _table("searching the table's rows (regret in nats/token)", _SEARCH, rows)


def extrapolate_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The extrapolation replay."""
    return _table("predicting beyond what was trained (nats/token)", _EXTRAPOLATE, rows)


def critical_table(answer: Mapping[str, Any]) -> Table:
    """The critical share asked for, and over the lengths of training."""
    share, low, high = (answer[key] for key in ("critical_share", "low", "high"))
    title = (
        f"critical share at step {answer['step']}: {share:.3f} "
        f"({answer['level']:.0%} interval {low:.3f} to {high:.3f})"
    )
    return _table(title, _CRITICAL, answer["horizon"])


def _table(title: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if column in {"surrogate", "method"} else "right")
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
