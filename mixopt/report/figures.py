"""The report's figures as plain plotly specifications (``{"data": [...], "layout": {...}}``).

A figure that has nothing to show raises ``NotApplicable`` with the reason; the page prints it.
Colours are told apart by lightness and by marker too, and hold on white and on near-black.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mixopt.report.report_data import ReportData
from mixopt.report.table_rows import phase_title, references

Figure = dict[str, Any]

BLUE, ORANGE, GREEN, PINK, SKY, GREY = (
    "#2f7fc1",
    "#d9822b",
    "#12906a",
    "#b9679b",
    "#6fb5e0",
    "#8b919b",
)
BAND = "rgba(47, 127, 193, 0.18)"


class NotApplicable(Exception):
    """Why a figure cannot be drawn; printed in its place."""


def outcome(data: ReportData) -> Figure:
    """Objective of recommendation, baseline and the rest, with intervals."""
    rec = _recommendation(data)
    rows: list[tuple[str, float, float, float, str, str]] = []
    others = references(rec)
    for label, e, colour, symbol in (
        ("predicted", rec.predicted, BLUE, "circle-open"),
        ("optimism removed", rec.corrected, BLUE, "circle"),
        ("baseline", rec.baseline, GREY, "square"),
        ("natural", others.get("natural"), GREY, "diamond"),
        ("uniform", others.get("uniform"), GREY, "triangle-up"),
    ):
        if e is not None:
            rows.append((label, e.mean, e.mean - e.low, e.high - e.mean, colour, symbol))
    best = rec.best_observed
    rows.insert(2, ("best observed", best.value, 0.0, 0.0, GREEN, "star"))
    for c in rec.confirmations:
        wide = 0.0 if c.high is None else c.high - c.mean
        rows.append((f"confirmed: {c.label}", c.mean, wide, wide, ORANGE, "x"))
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [mean],
            "y": [label],
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": [up],
                "arrayminus": [down],
                "color": colour,
                "width": 0,
            },
            "marker": _marker(colour, symbol),
            "hovertemplate": "%{y}: %{x:.4f}<extra></extra>",
            "showlegend": False,
        }
        for label, mean, down, up, colour, symbol in rows
    ]
    layout = _layout("objective", "", height=90 + 34 * len(rows))
    layout["yaxis"] |= {"autorange": "reversed", "type": "category", "showgrid": False}
    return {"data": traces, "layout": layout}


def history(data: ReportData) -> Figure:
    """Observed objective of the search trials in order, the best so far, the baseline."""
    search = _finished_search(data)
    order = list(range(1, len(search) + 1))
    y = search["objective"].to_numpy(dtype=float)
    traces = []
    for kinds, label, symbol in (
        (("initial", "attached"), "initial design", "circle-open"),
        (("proposed",), "proposed", "circle"),
    ):
        mine = search["kind"].isin(kinds).to_numpy()
        if mine.any():
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": label,
                    "x": [k for k, m in zip(order, mine, strict=True) if m],
                    "y": y[mine].tolist(),
                    "text": search["trial"][mine].tolist(),
                    "marker": {"color": BLUE, "symbol": symbol, "size": 8},
                    "hovertemplate": "%{text}: %{y:.4f}<extra></extra>",
                }
            )
    traces.append(
        {
            "type": "scatter",
            "mode": "lines",
            "name": "best so far",
            "x": order,
            "y": np.minimum.accumulate(y).tolist(),
            "line": {"color": GREEN, "width": 2, "shape": "hv"},
            "hoverinfo": "skip",
        }
    )
    layout = _layout("trial", "objective")
    level = _baseline_level(data)
    if level is not None:
        traces.append(_level(order, level, "baseline"))
    layout["xaxis"] |= {"rangemode": "tozero", "tickformat": "d"}
    layout["shapes"] = _round_lines(search)
    return {"data": traces, "layout": layout}


def _round_lines(search: pd.DataFrame) -> list[dict[str, Any]]:
    rounds = search["round"].tolist()
    return [
        {
            "type": "line",
            "xref": "x",
            "yref": "paper",
            "x0": k + 0.5,
            "x1": k + 0.5,
            "y0": 0,
            "y1": 1,
            "line": {"color": GREY, "width": 1, "dash": "dot"},
            "opacity": 0.5,
        }
        for k in range(1, len(rounds))
        if rounds[k] != rounds[k - 1]
    ]


def _level(x: Sequence[float], y: float, name: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [min(x), max(x)],
        "y": [y, y],
        "line": {"color": ORANGE, "width": 2, "dash": "dash"},
        "hovertemplate": f"{name}: %{{y:.4f}}<extra></extra>",
    }


def predicted_observed(data: ReportData) -> Figure:
    """Predicted against observed objective with intervals; the diagonal is perfect."""
    frame = data.predictions
    if len(frame) < 2:
        raise NotApplicable("fewer than two finished trials have a prediction")
    ends = [
        float(min(frame["observed"].min(), frame["mean"].min())),
        float(max(frame["observed"].max(), frame["mean"].max())),
    ]
    diagonal = {
        "type": "scatter",
        "mode": "lines",
        "x": ends,
        "y": ends,
        "line": {"color": GREY, "width": 1, "dash": "dash"},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    points = {
        "type": "scatter",
        "mode": "markers",
        "x": frame["mean"].tolist(),
        "y": frame["observed"].tolist(),
        "text": frame["trial"].tolist(),
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": (frame["high"] - frame["mean"]).tolist(),
            "arrayminus": (frame["mean"] - frame["low"]).tolist(),
            "thickness": 1,
            "width": 0,
        },
        "marker": {"color": BLUE, "size": 8},
        "hovertemplate": "%{text}: predicted %{x:.4f}, observed %{y:.4f}<extra></extra>",
        "showlegend": False,
    }
    return {"data": [diagonal, points], "layout": _layout("predicted", "observed", height=420)}


def weights(data: ReportData) -> Figure:
    """Weights per domain: natural, baseline, and each phase of the recommendation."""
    rec = _recommendation(data)
    space = data.space
    bars: list[tuple[str, Any, str]] = []
    if all(d.tokens is not None for d in space.domains) and space.baseline != "natural":
        bars.append(("natural", space.natural, SKY))
    bars.append(("baseline", space.baseline_schedule.exposure(), GREY))
    colours = [BLUE, ORANGE, GREEN, PINK]
    for index, phase in enumerate(rec.schedule.phases):
        title = phase_title(rec.schedule, index)
        bars.append((title, phase.mixture, colours[index % len(colours)]))
    names = list(space.names)
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": title,
            "y": names,
            "x": [100 * mixture.get(n, 0.0) for n in names],
            "marker": {"color": colour},
            "hovertemplate": "%{y}: %{x:.1f} %<extra>" + title + "</extra>",
        }
        for title, mixture, colour in bars
    ]
    layout = _layout("% of training tokens", "", height=120 + (14 * len(bars) + 10) * len(names))
    layout["yaxis"] |= {"autorange": "reversed", "showgrid": False, "type": "category"}
    return {"data": traces, "layout": layout | {"barmode": "group", "bargap": 0.3}}


def trade_off(data: ReportData) -> Figure:
    """Best predicted objective at each upsample fraction, with its interval."""
    points = _trade_off_points(data)
    x = [100 * p.upsample_fraction for p in points]
    band = {
        "type": "scatter",
        "mode": "lines",
        "x": [*x, *x[::-1]],
        "y": [p.objective.high for p in points] + [p.objective.low for p in points[::-1]],
        "fill": "toself",
        "fillcolor": BAND,
        "line": {"width": 0},
        "hoverinfo": "skip",
        "name": "95 % interval",
    }
    line = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": x,
        "y": [p.objective.mean for p in points],
        "name": "objective",
        "line": {"color": BLUE, "width": 2},
        "marker": {"size": 8, "color": BLUE},
        "hovertemplate": "%{x:.3g} %: %{y:.4f}<extra></extra>",
    }
    chosen = 100 * _recommendation(data).schedule.upsample_fraction
    near = min(points, key=lambda p: abs(100 * p.upsample_fraction - chosen))
    mark = {
        "type": "scatter",
        "mode": "markers",
        "x": [100 * near.upsample_fraction],
        "y": [near.objective.mean],
        "name": "recommended",
        "marker": {"size": 15, "color": ORANGE, "symbol": "circle-open", "line": {"width": 3}},
        "hoverinfo": "skip",
    }
    level = _level(x, _recommendation(data).baseline.mean, "baseline")
    layout = _layout("upsample fraction, % of training tokens", "objective")
    return {"data": [band, line, mark, level], "layout": layout}


def trade_off_metrics(data: ReportData, most: int = 8) -> Figure:
    """Each metric along the trade-off, as its change against the baseline."""
    points = _trade_off_points(data)
    base = _recommendation(data).baseline_metrics
    changes = {
        name: [p.metrics[name].mean - base[name].mean for p in points]
        for name in points[0].metrics
        if name in base and all(name in p.metrics for p in points)
    }
    if not changes:
        raise NotApplicable("no metric was predicted along the trade-off")
    names = sorted(changes, key=lambda n: -max(abs(v) for v in changes[n]))[:most]
    x = [100 * p.upsample_fraction for p in points]
    colours = [BLUE, ORANGE, GREEN, PINK, SKY, GREY]
    symbols = ["circle", "square", "diamond", "triangle-up", "x", "star", "cross", "hexagon"]
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": x,
            "y": changes[name],
            "line": {"color": colours[i % len(colours)], "width": 2},
            "marker": {"symbol": symbols[i % len(symbols)], "size": 8},
            "hovertemplate": "%{x:.3g} %: %{y:+.4f}<extra>" + name + "</extra>",
        }
        for i, name in enumerate(names)
    ]
    layout = _layout("upsample fraction, % of training tokens", "change against the baseline")
    layout["yaxis"]["zeroline"] = True
    return {"data": traces, "layout": layout}


def epochs(data: ReportData) -> Figure:
    """Epochs per domain at the target against their caps."""
    rec = _recommendation(data)
    if data.space.target is None:
        raise NotApplicable("the search space names no target, so epochs are unknown")
    if not rec.epochs:
        raise NotApplicable("no domain's available tokens are known")
    names = [n for n in data.space.names if n in rec.epochs]
    caps = {d.name: d.max_epochs or data.space.max_epochs for d in data.space.domains}
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": names,
        "x": [rec.epochs[n] for n in names],
        "marker": {"color": BLUE},
        "name": "epochs",
        "hovertemplate": "%{y}: %{x:.2f} epochs<extra></extra>",
    }
    capped = [n for n in names if caps[n] is not None]
    marks = {
        "type": "scatter",
        "mode": "markers",
        "y": capped,
        "x": [caps[n] for n in capped],
        "name": "cap",
        "marker": {"symbol": "line-ns-open", "size": 16, "color": ORANGE, "line": {"width": 3}},
        "hovertemplate": "%{y}: cap %{x:g}<extra></extra>",
    }
    layout = _layout("epochs at the target", "", height=110 + 28 * len(names))
    layout["yaxis"] |= {"autorange": "reversed", "showgrid": False, "type": "category"}
    return {"data": [bars, marks] if capped else [bars], "layout": layout}


def _marker(colour: str, symbol: str) -> dict[str, Any]:
    return {"color": colour, "size": 11, "symbol": symbol, "line": {"width": 2, "color": colour}}


def _recommendation(data: ReportData) -> Any:
    if data.recommendation is None:
        raise NotApplicable("there is no recommendation yet")
    return data.recommendation


def _trade_off_points(data: ReportData) -> list[Any]:
    points = sorted(_recommendation(data).trade_off, key=lambda p: p.upsample_fraction)
    if len(data.space.phases) < 2:
        raise NotApplicable("the search space has one phase, so there is no ending to upsample in")
    if len(points) < 2:
        raise NotApplicable("fewer than two upsample fractions are allowed")
    return points


def _finished_search(data: ReportData) -> pd.DataFrame:
    frame = data.trials
    if frame.empty or "objective" not in frame:
        raise NotApplicable("no trial has finished")
    checks = frame["kind"].isin(["confirmation", "comparison"])
    search = frame[~checks & frame["objective"].notna()]
    if search.empty:
        raise NotApplicable("no trial of the search has finished")
    return search.reset_index(drop=True)


def _baseline_level(data: ReportData) -> float | None:
    rec = data.recommendation
    if rec is None:
        return None
    return float(rec.baseline.mean if rec.baseline_observed is None else rec.baseline_observed)


def _layout(x: str, y: str, height: int = 360) -> dict[str, Any]:
    axis = {"automargin": True, "zeroline": False, "showline": False, "ticks": ""}
    return {
        "height": int(height),
        "margin": {"l": 10, "r": 16, "t": 12, "b": 44},
        "xaxis": {**axis, "title": {"text": x, "standoff": 10}},
        "yaxis": {**axis, "title": {"text": y, "standoff": 10}},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.01, "x": 0, "xanchor": "left"},
        "hovermode": "closest",
        "dragmode": False,
    }
