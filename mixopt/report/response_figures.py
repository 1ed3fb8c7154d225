"""Figures of what was learned of the weights: effects, slices, a ternary map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mixopt.analysis.responses import DomainEffect, Responses, Slice
from mixopt.report.components import Figure, NotApplicable
from mixopt.report.figure_parts import (
    BLUE,
    GREY,
    ORANGE,
    Trace,
    axis,
    error_bars,
    estimates,
    label,
    layout,
    line,
    points,
    rows_axis,
)
from mixopt.report.report_data import ReportData

if TYPE_CHECKING:
    from mixopt.propose import Estimate

#: Rows of the figures of effects.
MOST_ROWS = 30
#: From better than the baseline, over equal, to worse; told apart by lightness too.
SCALE = [[0.0, "#12608f"], [0.5, "#c9ced6"], [1.0, "#c2571a"]]


def effects(data: ReportData) -> Figure:
    """Change of the objective per percentage point of each domain, with its interval."""
    shown = _leading(data)
    found = [e.objective for e in shown]
    means = [v.mean for v in found]
    dots = points(means, [_row(data, e) for e in shown], BLUE)
    bars = error_bars([v.low for v in found], means, [v.high for v in found])
    dots |= {"error_x": bars, "hovertemplate": "%{y}: %{x:+.5f}<extra></extra>"}
    wide = axis("objective per percentage point", zeroline=True)
    return {"data": [dots], "layout": layout(wide, rows_axis(), 80 + 26 * len(shown))}


def metric_map(data: ReportData) -> Figure:
    """Change of every metric per percentage point of each domain."""
    shown = _leading(data)
    metrics = list(shown[0].metrics)
    # Colours say better and worse, whichever way a metric is better.
    signs = [data.objective.kind_of(m).sign for m in metrics]
    values = [[s * e.metrics[m].mean for s, m in zip(signs, metrics, strict=True)] for e in shown]
    heat = {
        "type": "heatmap",
        "x": [label(m) for m in metrics],
        "y": [_row(data, e) for e in shown],
        "z": values,
        "text": [[_change(e.metrics[m]) for m in metrics] for e in shown],
        "hovertemplate": "%{y} on %{x}: %{text}<extra></extra>",
    }
    heat |= _scale("z", [v for row in values for v in row])
    wide = axis("metric", type="category", showgrid=False)
    return {"data": [heat], "layout": layout(wide, rows_axis(), 140 + 22 * len(shown))}


def slices(data: ReportData) -> Figure:
    """The objective along the weights that change it most, with its interval."""
    found = _responses(data).slices
    if not found:
        raise NotApplicable("no weight can move")
    # Where little was tried an interval is wide; it is cut rather than hide all else.
    means = [e.mean for s in found for e in s.objective]
    room = 0.3 * (max(means) - min(means)) or 1.0
    span = [min(means) - room, max(means) + room]
    lines = -(-len(found) // 2)
    frame = layout({}, {}, height=60 + 190 * lines)
    traces: list[Trace] = []
    for k, each in enumerate(found):
        end = "" if k == 0 else str(k + 1)
        row, column = divmod(k, 2)
        top = 1 - row / lines
        frame[f"xaxis{end}"] = axis(
            f"{_row(data, each.effect)}, %",
            domain=[0.55 * column, 0.55 * column + 0.45],
            anchor=f"y{end}",
        )
        frame[f"yaxis{end}"] = axis(
            "", domain=[top - 0.72 / lines, top], anchor=f"x{end}", range=span, zeroline=True
        )
        where = {"xaxis": f"x{end}", "yaxis": f"y{end}"}
        traces += [trace | where for trace in _curve(each, span, k == 0)]
    return {"data": traces, "layout": frame}


def _curve(found: Slice, span: Sequence[float], first: bool) -> list[Trace]:
    x = [100 * w for w in found.weights]
    curve = estimates(
        x, found.objective, BLUE, hovertemplate="%{x:.1f} %: %{y:+.4f}<extra></extra>"
    )
    curve[1] |= {"mode": "lines", "name": "against the baseline", "showlegend": first}
    here = line([100 * found.effect.weight] * 2, span, ORANGE, "dot", name="recommended")
    return [*curve, here | {"showlegend": first}]


def ternary(data: ReportData) -> Figure:
    """The objective over the three largest domains of the last phase, allowed weights only."""
    found = _responses(data).ternary
    if found is None:
        raise NotApplicable("fewer than three weights of the last phase can move")
    names = [label(n) for n in found.domains]
    means = [e.mean for e in found.objective]
    hover = "".join(f"{n} %{{{k}:.1f}} %, " for n, k in zip(names, "abc", strict=True))
    colours = _scale("c", means) | {"reversescale": data.objective.goal == "maximize"}
    colours["colorbar"] |= {"orientation": "h", "y": -0.25, "len": 0.8}
    cloud = {
        "type": "scatterternary",
        "mode": "markers",
        "marker": {"size": 11, "symbol": "hexagon", "color": means, **colours},
        "text": [f"{e.mean:+.4f} [{e.low:+.4f}, {e.high:+.4f}]" for e in found.objective],
        "hovertemplate": f"{hover}%{{text}}<extra></extra>",
        "showlegend": False,
        "cliponaxis": False,
        **{k: [100 * p[i] for p in found.points] for i, k in enumerate("abc")},
    }
    here = {
        "type": "scatterternary",
        "mode": "markers",
        "name": "recommended",
        **{k: [100 * v] for k, v in zip("abc", found.recommended, strict=True)},
        "marker": {"symbol": "circle-open", "size": 18, "color": GREY, "line": {"width": 3}},
        "hoverinfo": "name",
        "showlegend": True,
    }
    total = 100 * found.total
    sides = {
        f"{k}axis": {"title": {"text": n}, "min": 0, "ticks": ""}
        for k, n in zip("abc", names, strict=True)
    }
    frame = layout({}, {}, height=460) | {"ternary": {"sum": total, **sides}}
    del frame["xaxis"], frame["yaxis"]
    frame["margin"] = {"l": 40, "r": 40, "t": 40, "b": 70}
    return {"data": [cloud, here], "layout": frame}


def _change(found: Estimate) -> str:
    return f"{found.mean:+.5f} ± {found.high - found.mean:.5f}"


def _scale(axis_of: str, values: Sequence[float]) -> Trace:
    """Colours that are even around 0."""
    reach = max(abs(v) for v in values)
    bar = {"thickness": 12, "outlinewidth": 0, "tickfont": {"size": 11}}
    return {
        "colorscale": SCALE,
        "colorbar": bar,
        f"{axis_of}min": -reach,
        f"{axis_of}max": reach,
    }


def _leading(data: ReportData) -> Sequence[DomainEffect]:
    """The effects that are shown: the largest where there are many, in the order of the space."""
    found = _responses(data).effects
    if not found:
        raise NotApplicable("every weight is fixed")
    least = sorted(-abs(e.objective.mean) for e in found)[:MOST_ROWS][-1]
    return [e for e in found if -abs(e.objective.mean) <= least]


def _row(data: ReportData, effect: DomainEffect) -> str:
    several = len({e.phase for e in _responses(data).effects}) > 1
    return label(f"{effect.phase}: {effect.domain}" if several else effect.domain)


def _responses(data: ReportData) -> Responses:
    if data.responses is None:
        raise NotApplicable("there is no recommendation yet")
    return data.responses
