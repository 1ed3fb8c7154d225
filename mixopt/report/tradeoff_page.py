"""The trade-off between general and target ability: a table, and a page with one figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixopt.report import numbers as fmt
from mixopt.report.figures import BLUE, GREEN, GREY, ORANGE, Figure
from mixopt.report.page import write_page
from mixopt.report.table_rows import Table

if TYPE_CHECKING:
    from mixopt.analysis.tradeoff import Choice, TradeOff

FILE_NAME = "tradeoff.html"
BANDS = {BLUE: "rgba(47, 127, 193, 0.18)", ORANGE: "rgba(217, 130, 43, 0.18)"}


def trade_off_table(found: TradeOff) -> Table:
    """One row per upsample fraction, the chosen one stressed."""
    rows = tuple(_row(c) for c in found.levels)
    same = [c.schedule == found.chosen.schedule for c in found.levels]
    note = (
        f"Changes against the baseline with 95 % intervals, nats/token; negative is better. Per "
        f"fraction, the largest target gain whose general loss rises by at most {found.slack:g} "
        f"with probability {found.confidence:g}, or the mixture nearest to that. "
        f"Chosen: {_named(found.chosen)}."
    )
    strong = frozenset(i for i, chosen in enumerate(same) if chosen)
    columns = ("upsample fraction", "target", "interval", "general", "interval", "within slack")
    return Table("Trade-off", columns, rows, strong=strong, note=note)


def pareto_table(found: TradeOff) -> Table:
    """The choices that no other betters in both."""
    rows = tuple((*_row(c), _ending(c)) for c in found.pareto)
    columns = (
        "upsample fraction",
        "target",
        "interval",
        "general",
        "interval",
        "within slack",
        "last phase",
    )
    return Table("Pareto choices", columns, rows, text=frozenset({6}))


def _row(c: Choice) -> tuple[str, ...]:
    return (
        f"{100 * c.upsample_fraction:.3g} %",
        fmt.signed(c.target.mean),
        f"[{fmt.signed(c.target.low)}, {fmt.signed(c.target.high)}]",
        fmt.signed(c.general.mean),
        f"[{fmt.signed(c.general.low)}, {fmt.signed(c.general.high)}]",
        f"{c.probability:.2f}",
    )


def _named(c: Choice) -> str:
    if c.upsample_fraction == 0:
        return "one mixture from start to end"
    return f"the last {100 * c.upsample_fraction:.3g} %"


def _ending(c: Choice) -> str:
    return ", ".join(f"{n} {100 * w:.0f} %" for n, w in c.schedule.ending.items() if w >= 0.005)


def trade_off_figure(found: TradeOff) -> Figure:
    """Target and general change over the fraction, and against each other."""
    x = [100 * c.upsample_fraction for c in found.levels]
    traces: list[dict[str, Any]] = []
    for name, colour, symbol in (("target", BLUE, "circle"), ("general", ORANGE, "square")):
        values = [getattr(c, name) for c in found.levels]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": [*x, *x[::-1]],
                "y": [v.high for v in values] + [v.low for v in values[::-1]],
                "fill": "toself",
                "fillcolor": BANDS[colour],
                "line": {"width": 0},
                "hoverinfo": "skip",
                "showlegend": False,
            }
        )
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": f"{name} metrics",
                "x": x,
                "y": [v.mean for v in values],
                "line": {"color": colour, "width": 2},
                "marker": {"size": 9, "symbol": symbol},
            }
        )
    ends = [min(x), max(x)]
    traces.append(_line(ends, [found.slack] * 2, "slack of the general loss", "x", "y"))
    traces += _plane(found)
    return {"data": traces, "layout": _layout()}


def _plane(found: TradeOff) -> list[dict[str, Any]]:
    front, chosen = found.pareto, found.chosen
    points = {
        "type": "scatter",
        "mode": "lines+markers+text",
        "name": "Pareto choices",
        "xaxis": "x2",
        "yaxis": "y2",
        "x": [c.general.mean for c in front],
        "y": [c.target.mean for c in front],
        "text": [f"{100 * c.upsample_fraction:.3g} %" for c in front],
        "textposition": "top right",
        "customdata": [_ending(c) for c in front],
        "hovertemplate": "%{text}: %{customdata}<extra></extra>",
        "error_x": _bars([c.general for c in front]),
        "error_y": _bars([c.target for c in front]),
        "line": {"color": GREEN, "width": 1},
        "marker": {"size": 9, "color": GREEN, "symbol": "diamond"},
    }
    ring = {"size": 17, "color": BLUE, "symbol": "circle-open", "line": {"width": 3}}
    mark = {
        "type": "scatter",
        "mode": "markers",
        "name": "chosen",
        "xaxis": "x2",
        "yaxis": "y2",
        "x": [chosen.general.mean],
        "y": [chosen.target.mean],
        "marker": ring,
    }
    low = min(0.0, *(c.target.low for c in front))
    return [points, mark, _line([found.slack] * 2, [low, 0.0], "", "x2", "y2")]


def _bars(values: list[Any]) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [v.high - v.mean for v in values],
        "arrayminus": [v.mean - v.low for v in values],
        "thickness": 1,
        "width": 0,
    }


def _line(x: list[float], y: list[float], name: str, xaxis: str, yaxis: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "showlegend": bool(name),
        "x": x,
        "y": y,
        "xaxis": xaxis,
        "yaxis": yaxis,
        "line": {"color": GREY, "dash": "dash", "width": 2},
        "hoverinfo": "skip",
    }


def _layout() -> dict[str, Any]:
    def axis(title: str, **more: Any) -> dict[str, Any]:
        return {"automargin": True, "zeroline": True, "title": {"text": title}, **more}

    return {
        "height": 460,
        "margin": {"l": 10, "r": 16, "t": 60, "b": 44},
        "xaxis": axis("upsample fraction, % of training tokens", domain=[0, 0.46]),
        "yaxis": axis("change against the baseline, nats/token"),
        "xaxis2": axis("general metrics: change", domain=[0.56, 1], anchor="y2"),
        "yaxis2": axis("target metrics: change", anchor="x2"),
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        "title": {"text": "General against target ability over the upsample fraction"},
    }


def write_trade_off(found: TradeOff, out: str | Path) -> Path:
    """Write the figure as one HTML file that works offline; returns it.

    Args:
        found: What to show.
        out: The file (``*.html``), or a folder for ``tradeoff.html``; folders are made.

    Raises:
        StudyError: If it cannot be written.
    """
    import plotly.io

    figure = fmt.plain(trade_off_figure(found))
    text = plotly.io.to_html(figure, include_plotlyjs=True, full_html=True, validate=False)
    return write_page(text, Path(out), FILE_NAME, "the trade-off")
