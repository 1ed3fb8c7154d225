"""Tables of replays, as reports and terminals show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixopt.report.components import Table
from mixopt.report.numbers import DASH

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


def predict_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The prediction replay: the means over the metrics."""
    kept = [row for row in rows if row["metric"] == "mean"]
    return _table("Predicting runs not seen (losses in nats/token)", _PREDICT, kept)


def search_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The search replay."""
    return _table("Searching the table's rows (regret in nats/token)", _SEARCH, rows)


def extrapolate_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The extrapolation replay."""
    return _table("Predicting beyond what was trained (nats/token)", _EXTRAPOLATE, rows)


def _table(title: str, columns: tuple[str, ...], rows: Sequence[Mapping[str, Any]]) -> Table:
    return Table(title, columns, tuple(tuple(_cell(row[c]) for c in columns) for row in rows))


def _cell(value: Any) -> str:
    if value is None:
        return DASH
    return f"{value:.4g}" if isinstance(value, float) else str(value)
