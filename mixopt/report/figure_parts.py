"""Traces and layouts that the figures share, as plain plotly specifications.

Colours are told apart by lightness and by marker too, and hold on white and on near-black. Names
from outside are escaped, since plotly reads some HTML in its texts.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mixopt.study.results.estimates import ObjectiveEstimate

if TYPE_CHECKING:
    from mixopt.propose import Estimate

Trace = dict[str, Any]

BLUE, ORANGE, GREEN, PINK, SKY, GREY = (
    "#2f7fc1",
    "#d9822b",
    "#12906a",
    "#b9679b",
    "#6fb5e0",
    "#8b919b",
)
COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, GREY)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "cross", "hexagon")
#: Fill of a band around a line of each colour.
BANDS = {
    BLUE: "rgba(47, 127, 193, 0.18)",
    ORANGE: "rgba(217, 130, 43, 0.18)",
}
#: The trace's own name in what a hover shows.
NAMED = "<extra>%{fullData.name}</extra>"


def label(name: str) -> str:
    """A name from outside as plotly shows it letter by letter."""
    return html.escape(name, quote=False)


def error_bars(low: Iterable[float], middle: Iterable[float], high: Iterable[float]) -> Trace:
    """Error bars from the ends of intervals."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [end - m for end, m in zip(high, middle, strict=True)],
        "arrayminus": [m - end for end, m in zip(low, middle, strict=True)],
        "thickness": 1.5,
        "width": 0,
    }


def points(
    x: Iterable[Any], y: Iterable[Any], colour: str, symbol: str = "circle", **more: Any
) -> Trace:
    """Markers; nothing in the legend unless they have a name."""
    marker = {"color": colour, "symbol": symbol, "size": 9}
    base = {"type": "scatter", "mode": "markers", "x": list(x), "y": list(y), "marker": marker}
    return base | {"showlegend": "name" in more} | more


def line(
    x: Iterable[Any], y: Iterable[Any], colour: str, dash: str = "solid", **more: Any
) -> Trace:
    """A line; nothing in the legend unless it has a name."""
    style = {"color": colour, "width": 2, "dash": dash}
    base = {"type": "scatter", "mode": "lines", "x": list(x), "y": list(y), "line": style}
    return base | {"showlegend": "name" in more, "hoverinfo": "skip"} | more


def estimates(
    x: Sequence[float],
    found: Sequence[Estimate],
    colour: str,
    symbol: str = "circle",
    **more: Any,
) -> list[Trace]:
    """A line through estimates, and the area of their intervals behind it."""
    ends = [*(e.high for e in found), *(e.low for e in found[::-1])]
    area = line([*x, *x[::-1]], ends, colour)
    area |= {"fill": "toself", "fillcolor": BANDS[colour], "line": {"width": 0}}
    curve = line(x, [e.mean for e in found], colour, mode="lines+markers", hoverinfo="all", **more)
    return [area, curve | {"marker": {"size": 9, "symbol": symbol}}]


def bars(names: Sequence[str], values: Sequence[float], colour: str, **more: Any) -> Trace:
    """Bars beside names from outside."""
    marks = {"orientation": "h", "y": [label(n) for n in names], "x": list(values)}
    return {"type": "bar", "marker": {"color": colour}} | marks | more


def interval_row(
    row: str, estimate: ObjectiveEstimate, colour: str, symbol: str, **more: Any
) -> Trace:
    """One estimate as a marker with its interval, on a row of its own."""
    low, high = estimate.low, estimate.high
    trace = points([estimate.value], [label(row)], colour, symbol, **more)
    trace["hovertemplate"] = "%{y}: %{x:.4f}<extra></extra>"
    trace["marker"] |= {"size": 11, "line": {"width": 2, "color": colour}}
    if low is not None and high is not None:
        bars = error_bars([low], [estimate.value], [high])
        trace["error_x"] = bars | {"color": colour}
    return trace


def axis(title: str, **more: Any) -> Trace:
    """An axis with its title."""
    plain = {"automargin": True, "zeroline": False, "showline": False, "ticks": ""}
    return plain | {"title": {"text": title, "standoff": 10}} | more


def rows_axis(**more: Any) -> Trace:
    """An axis of names, the first one on top."""
    return axis("", autorange="reversed", type="category", showgrid=False, **more)


def layout(x: Trace, y: Trace, height: int = 360, **more: Any) -> Trace:
    """The frame of a figure."""
    legend = {"orientation": "h", "yanchor": "bottom", "y": 1.01, "x": 0, "xanchor": "left"}
    return {
        "height": int(height),
        "margin": {"l": 10, "r": 16, "t": 12, "b": 44},
        "xaxis": x,
        "yaxis": y,
        "legend": legend,
        "hovermode": "closest",
        "dragmode": False,
    } | more
