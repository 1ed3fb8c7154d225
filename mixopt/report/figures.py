"""The report's figures as plain plotly specifications (``{"data": [...], "layout": {...}}``).

A figure that has nothing to show raises ``NotApplicable`` with the reason; the page prints it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mixopt.report import numbers as fmt
from mixopt.report.components import Figure, NotApplicable
from mixopt.report.figure_parts import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    NAMED,
    ORANGE,
    PINK,
    SKY,
    SYMBOLS,
    Trace,
    axis,
    bars,
    error_bars,
    estimates,
    interval_row,
    label,
    layout,
    line,
    points,
    rows_axis,
)
from mixopt.report.recommendation_tables import phase_title
from mixopt.report.report_data import ReportData
from mixopt.report.study_tables import search_trials
from mixopt.space import Fidelity
from mixopt.study.results.estimates import Answer, EstimateRow, ObjectiveEstimate

if TYPE_CHECKING:
    from mixopt.propose import Recommendation, TradeOffPoint

#: Label, difference from the baseline, colour and symbol.
_Gap = tuple[str, ObjectiveEstimate, str, str]
#: Marker of each schedule, the same in every figure.
MARKS = {
    "recommendation": (BLUE, "circle"),
    "baseline": (GREY, "square"),
    "natural": (GREY, "diamond"),
    "uniform": (PINK, "triangle-up"),
    "static": (SKY, "triangle-down"),
}


def outcome(data: ReportData) -> Figure:
    """Differences from the baseline, those on unseen text in a panel of their own."""
    answer = _answer(data)
    here = [(answer.predicted, (BLUE, "circle")), (answer.best_observed, (GREEN, "star"))]
    here += [(row, MARKS[row.label]) for row in answer.references]
    unseen = [(row, MARKS[row.label]) for row in answer.confirmed if row.label != "baseline"]
    panels = {"on the search's held-out text": here, "on unseen text, confirmed": unseen}
    return _panels({title: _gaps(rows) for title, rows in panels.items() if _gaps(rows)})


def _gaps(rows: Sequence[tuple[EstimateRow, tuple[str, str]]]) -> list[_Gap]:
    return [(row.label, row.difference, *mark) for row, mark in rows if row.difference is not None]


def _panels(panels: dict[str, list[_Gap]]) -> Figure:
    """One panel under the other, each with an axis of its own, drawn to the same scale."""
    gaps = [gap for rows in panels.values() for _, gap, _, _ in rows]
    ends = [0.0, *(v for g in gaps for v in (g.value, g.low, g.high) if v is not None)]
    room = 0.06 * (max(ends) - min(ends) or 1.0)
    span = [min(ends) - room, max(ends) + room]
    sizes = [len(rows) + 1.6 for rows in panels.values()]
    frame = layout({}, {}, height=40 + 34 * int(np.ceil(sum(sizes))))
    traces: list[Trace] = []
    top = 1.0
    for k, ((title, rows), size) in enumerate(zip(panels.items(), sizes, strict=True), start=1):
        end = "" if k == 1 else str(k)
        bottom = top - (size - 1.6) / sum(sizes)
        wide = axis(f"difference from the baseline {title}", range=span, anchor=f"y{end}")
        frame[f"xaxis{end}"] = wide | {"zeroline": True}
        frame[f"yaxis{end}"] = rows_axis(domain=[max(bottom, 0.0), top], anchor=f"x{end}")
        top = bottom - 1.6 / sum(sizes)
        where = {"xaxis": f"x{end}", "yaxis": f"y{end}"}
        traces += [interval_row(*gap) | where for gap in rows]
    frame["margin"] = {"l": 10, "r": 16, "t": 8, "b": 8}
    return {"data": traces, "layout": frame}


def fresh(data: ReportData) -> Figure:
    """Predicted values beside those of fresh seeds on the same held-out text."""
    answer = _answer(data)
    if not answer.fresh:
        raise NotApplicable("no confirmation run was measured on the search's held-out text")
    target = answer.predicted.fidelity
    if target is not None and target != data.fidelity:
        raise NotApplicable("predictions are of the target, where no confirmation run was made")
    known = {
        "recommendation": answer.predicted,
        "baseline": answer.baseline,
        **{row.label: row for row in answer.references},
    }
    pairs = [(known[row.label], row) for row in answer.fresh if row.label in known]
    traces = []
    for k, (predicted, measured) in enumerate(pairs):
        for title, row, colour, symbol in (
            ("predicted", predicted, BLUE, "circle-open"),
            ("fresh seeds", measured, ORANGE, "x"),
        ):
            trace = interval_row(measured.label, row.objective, colour, symbol, name=title)
            traces.append(trace | {"legendgroup": title, "showlegend": k == 0})
    frame = layout(
        axis(f"{answer.word} on the search's held-out text"), rows_axis(), 110 + 44 * len(pairs)
    )
    return {"data": traces, "layout": frame | {"scattermode": "group", "scattergap": 0.4}}


def history(data: ReportData) -> Figure:
    """Observed objective of the search trials in order; the best so far of each size of run."""
    search = _finished_search(data)
    search["order"] = range(1, len(search) + 1)
    search = search.fillna({"parameters": 0, "tokens": 0})
    sizes = sorted(set(zip(search["parameters"], search["tokens"], strict=True)), key=np.prod)
    traces: list[Trace] = []
    for k, (parameters, tokens) in enumerate(sizes):
        mine = search[(search["parameters"] == parameters) & (search["tokens"] == tokens)]
        ending = ""
        if len(sizes) > 1:
            size = Fidelity(parameters=int(parameters), tokens=int(tokens))
            ending = f", {fmt.fidelity(size)}"
        traces += _one_size(mine, COLOURS[k % len(COLOURS)], ending, data.objective.sign)
    answer = data.answer
    if answer is not None:
        traces += _baseline_level(answer, len(search))
    frame = layout(axis("trial", rangemode="tozero", tickformat="d"), axis("observed objective"))
    frame["shapes"] = _round_lines(search["round"].tolist())
    return {"data": traces, "layout": frame}


def _one_size(trials: pd.DataFrame, colour: str, ending: str, sign: float) -> list[Trace]:
    hover = "%{text}: %{y:.4f}<extra></extra>"
    proposed, given = trials["kind"] == "proposed", trials["kind"] == "attached"
    traces = [
        points(
            mine["order"],
            mine["objective"],
            colour,
            symbol,
            name=name + ending,
            text=[label(t) for t in mine["trial"]],
            hovertemplate=hover,
        )
        for mine, name, symbol in (
            (trials[~proposed & ~given], "initial design", "circle-open"),
            (trials[given], "finished before", "circle-open"),
            (trials[proposed], "proposed", "circle"),
        )
        if len(mine)
    ]
    best = sign * np.minimum.accumulate(sign * trials["objective"].to_numpy(dtype=float))
    step = line(trials["order"], best.tolist(), colour, name=f"best so far{ending}")
    step["line"]["shape"] = "hv"
    return [*traces, step]


def _round_lines(rounds: Sequence[int]) -> list[dict[str, Any]]:
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


def _baseline_level(answer: Answer, trials: int) -> list[Trace]:
    """The baseline as observed; as predicted only where all trials are of the predicted size."""
    row = answer.baseline_observed
    name = "baseline, observed"
    if row is None:
        if answer.baseline.fidelity is not None:
            return []
        row, name = answer.baseline, "baseline, predicted"
    if row.fidelity is not None:
        name += f", {fmt.fidelity(row.fidelity)}"
    return [line([1, trials], [row.objective.value] * 2, ORANGE, "dash", name=name)]


def predicted_observed(data: ReportData) -> Figure:
    """Observed objective against the predicted one with its interval; the diagonal is perfect."""
    frame = data.predictions
    if len(frame) < 2:
        raise NotApplicable("fewer than two finished trials have a prediction")
    both = frame[["value", "mean"]].to_numpy()
    ends = [float(both.min()), float(both.max())]
    observed = frame["observed"].astype(bool)
    names = {True: "observed", False: "extrapolated to the target"}
    traces = [line(ends, ends, GREY, "dash")]
    for seen, symbol in ((True, "circle"), (False, "circle-open")):
        mine = frame[observed == seen]
        if len(mine):
            trace = points(mine["mean"], mine["value"], BLUE, symbol, name=names[seen])
            trace["error_x"] = error_bars(mine["low"], mine["mean"], mine["high"])
            trace["text"] = [label(t) for t in mine["trial"]]
            trace["hovertemplate"] = f"%{{text}}: predicted %{{x:.4f}}, {names[seen]} %{{y:.4f}}"
            traces.append(trace | {"showlegend": not observed.all()})
    title = "observed" if observed.all() else "observed or extrapolated to the target"
    return {"data": traces, "layout": layout(axis("predicted"), axis(title), height=420)}


def weights(data: ReportData) -> Figure:
    """Weights per domain: natural, baseline, and each phase of the recommendation."""
    rec = _recommendation(data)
    space = data.space
    shown: list[tuple[str, Any, str]] = []
    if all(d.tokens is not None for d in space.domains) and space.baseline != "natural":
        shown.append(("natural", space.natural, SKY))
    shown.append(("baseline", space.baseline_schedule.exposure(), GREY))
    for index, phase in enumerate(rec.schedule.phases):
        shown.append((phase_title(rec.schedule, index), phase.mixture, COLOURS[index % 4]))
    names = list(space.names)
    hover = "%{y}: %{x:.1f} %" + NAMED
    traces = []
    for title, mixture, colour in shown:
        shares = [100 * mixture.get(n, 0.0) for n in names]
        traces.append(bars(names, shares, colour, name=label(title), hovertemplate=hover))
    height = 120 + (14 * len(shown) + 10) * len(names)
    frame = layout(axis("% of training tokens"), rows_axis(), height)
    return {"data": traces, "layout": frame | {"barmode": "group", "bargap": 0.3}}


def trade_off(data: ReportData) -> Figure:
    """Best predicted objective at each upsample fraction, with its interval."""
    found = _trade_off_points(data)
    rec = _recommendation(data)
    x = [100 * p.upsample_fraction for p in found]
    y = [p.objective.mean for p in found]
    hover = "%{x:.3g} %: %{y:.4f}<extra></extra>"
    curve = estimates(x, [p.objective for p in found], BLUE, name="objective", hovertemplate=hover)
    near = int(np.argmin([abs(v - 100 * rec.schedule.upsample_fraction) for v in x]))
    ring = points([x[near]], [y[near]], ORANGE, "circle-open", name="recommended")
    ring["marker"] |= {"size": 15, "line": {"width": 3}}
    level = line([x[0], x[-1]], [rec.baseline.mean] * 2, ORANGE, "dash", name="baseline, predicted")
    frame = layout(axis("upsample fraction, % of training tokens"), axis("predicted objective"))
    return {"data": [*curve, ring, level], "layout": frame}


def trade_off_metrics(data: ReportData, most: int = 8) -> Figure:
    """Each metric along the trade-off, as its change against the baseline."""
    found = _trade_off_points(data)
    base = _recommendation(data).baseline_metrics
    changes = {
        name: [p.metrics[name].mean - base[name].mean for p in found]
        for name in found[0].metrics
        if name in base and all(name in p.metrics for p in found)
    }
    if not changes:
        raise NotApplicable("no metric was predicted along the trade-off")
    names = sorted(changes, key=lambda n: -max(abs(v) for v in changes[n]))[:most]
    x = [100 * p.upsample_fraction for p in found]
    traces = []
    for i, name in enumerate(names):
        mark = {"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 8}
        colour = COLOURS[i % len(COLOURS)]
        trace = line(x, changes[name], colour, name=label(name), mode="lines+markers", marker=mark)
        hover = {"hovertemplate": "%{x:.3g} %: %{y:+.4f}" + NAMED, "hoverinfo": "all"}
        traces.append(trace | hover)
    change = axis("change against the baseline", zeroline=True)
    frame = layout(axis("upsample fraction, % of training tokens"), change)
    return {"data": traces, "layout": frame}


def epochs(data: ReportData) -> Figure:
    """Epochs per domain at the target against their caps."""
    rec = _recommendation(data)
    if data.space.target is None:
        raise NotApplicable("the search space names no target, so epochs are unknown")
    if not rec.epochs:
        raise NotApplicable("no domain's available tokens are known")
    names = [n for n in data.space.names if n in rec.epochs]
    caps = {d.name: d.max_epochs or data.space.max_epochs for d in data.space.domains}
    read = [rec.epochs[n] for n in names]
    hover = "%{y}: %{x:.2f} epochs<extra></extra>"
    drawn = [bars(names, read, BLUE, name="epochs", hovertemplate=hover)]
    capped = [n for n in names if caps[n] is not None]
    hover = "%{y}: cap %{x:g}<extra></extra>"
    shown = [label(n) for n in capped]
    marks = points([caps[n] for n in capped], shown, ORANGE, name="cap", hovertemplate=hover)
    marks["marker"] |= {"symbol": "line-ns-open", "size": 16, "line": {"width": 3}}
    frame = layout(axis("epochs at the target"), rows_axis(), 110 + 28 * len(names))
    return {"data": [*drawn, marks] if capped else drawn, "layout": frame}


def _recommendation(data: ReportData) -> Recommendation:
    if data.recommendation is None:
        raise NotApplicable("there is no recommendation yet")
    return data.recommendation


def _answer(data: ReportData) -> Answer:
    _recommendation(data)
    assert data.answer is not None, "a recommendation has an answer"
    return data.answer


def _trade_off_points(data: ReportData) -> list[TradeOffPoint]:
    found = sorted(_recommendation(data).trade_off, key=lambda p: p.upsample_fraction)
    if len(data.space.phases) < 2:
        raise NotApplicable("the search space has one phase, so there is no ending to upsample in")
    if len(found) < 2:
        raise NotApplicable("fewer than two upsample fractions are allowed")
    return found


def _finished_search(data: ReportData) -> pd.DataFrame:
    frame = data.trials
    search = search_trials(frame)
    search = search[(search["state"] == "finished") & search["objective"].notna()]
    if search.empty:
        raise NotApplicable("no trial of the search has finished")
    return search.reset_index(drop=True)
