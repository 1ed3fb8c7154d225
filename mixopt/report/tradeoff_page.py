"""The trade-off between general and target ability: a table, and a page with one figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mixopt.report import numbers as fmt
from mixopt.report.components import Figure, Page, Section, Table
from mixopt.report.figure_parts import (
    BLUE,
    GREEN,
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
)
from mixopt.report.page import write_page

if TYPE_CHECKING:
    from mixopt.analysis.tradeoff import Choice, TradeOff
    from mixopt.propose import Estimate

FILE_NAME = "tradeoff.html"
_COLUMNS = ("upsample fraction", "target", "interval", "general", "interval", "within slack")


def trade_off_table(found: TradeOff) -> Table:
    """One row per upsample fraction, the chosen one stressed."""
    rows = tuple(_row(c) for c in found.levels)
    note = (
        f"Changes against the baseline with 95 % intervals, nats/token; negative is better. Per "
        f"fraction, the largest target gain whose general loss rises by at most {found.slack:g} "
        f"with probability {found.confidence:g}, or the mixture nearest to that. "
        f"Chosen: {_named(found.chosen)}."
    )
    levels = enumerate(found.levels)
    strong = frozenset(i for i, c in levels if c.schedule == found.chosen.schedule)
    return Table("Trade-off", _COLUMNS, rows, strong=strong, note=note)


def pareto_table(found: TradeOff) -> Table:
    """The choices that no other betters in both."""
    rows = tuple((*_row(c), _ending(c)) for c in found.pareto)
    return Table("Pareto choices", (*_COLUMNS, "last phase"), rows, text=frozenset({6}))


def _percent(c: Choice) -> str:
    return f"{100 * c.upsample_fraction:.3g} %"


def _row(c: Choice) -> tuple[str, ...]:
    return (
        _percent(c),
        *fmt.change(c.target),
        *fmt.change(c.general),
        f"{c.probability:.2f}",
    )


def _named(c: Choice) -> str:
    if c.upsample_fraction == 0:
        return "one mixture from start to end"
    return f"the last {_percent(c)}"


def _ending(c: Choice) -> str:
    return ", ".join(f"{n} {100 * w:.0f} %" for n, w in c.schedule.ending.items() if w >= 0.005)


def curves_figure(found: TradeOff) -> Figure:
    """Target and general change over the upsample fraction."""
    x = [100 * c.upsample_fraction for c in found.levels]
    target, general = [c.target for c in found.levels], [c.general for c in found.levels]
    traces = [
        *estimates(x, target, BLUE, name="target metrics"),
        *estimates(x, general, ORANGE, "square", name="general metrics"),
        line([min(x), max(x)], [found.slack] * 2, GREY, "dash", name="slack of the general loss"),
    ]
    wide = axis("upsample fraction, % of training tokens")
    change = axis("change against the baseline, nats/token", zeroline=True)
    return {"data": traces, "layout": layout(wide, change)}


def pareto_figure(found: TradeOff) -> Figure:
    """Target against general change of the choices that no other betters in both."""
    front, chosen = found.pareto, found.chosen
    x, y = [c.general.mean for c in front], [c.target.mean for c in front]
    curve = points(x, y, GREEN, "diamond", name="Pareto choices") | {
        "mode": "lines+markers+text",
        "text": [
            _percent(c) if apart else "" for c, apart in zip(front, _with_room(x, y), strict=True)
        ],
        "textposition": "top right",
        "cliponaxis": False,
        "customdata": [f"{_percent(c)}: {label(_ending(c))}" for c in front],
        "hovertemplate": "%{customdata}<extra></extra>",
        "error_x": _bars([c.general for c in front]),
        "error_y": _bars([c.target for c in front]),
        "line": {"color": GREEN, "width": 1},
    }
    ring = points([chosen.general.mean], [chosen.target.mean], BLUE, "circle-open", name="chosen")
    ring["marker"] |= {"size": 17, "line": {"width": 3}}
    low = min(0.0, *(c.target.low for c in front))
    slack = line([found.slack] * 2, [low, 0.0], GREY, "dash", name="slack of the general loss")
    wide, high = (axis(f"{name} metrics: change", zeroline=True) for name in ("general", "target"))
    return {"data": [curve, ring, slack], "layout": layout(wide, high, height=420)}


def _with_room(x: Sequence[float], y: Sequence[float]) -> list[bool]:
    """Which points have room for a label, on a phone too; the others say theirs when touched."""
    wide, high = (max(v) - min(v) or 1.0 for v in (x, y))
    kept: list[int] = []
    for i in range(len(x)):
        if all(abs(x[i] - x[k]) > wide / 7 or abs(y[i] - y[k]) > high / 11 for k in kept):
            kept.append(i)
    return [i in kept for i in range(len(x))]


def _bars(values: Sequence[Estimate]) -> Trace:
    return error_bars([v.low for v in values], [v.mean for v in values], [v.high for v in values])


def trade_off_page(found: TradeOff) -> Page:
    """What the page of the trade-off shows."""
    levels, front = trade_off_table(found), pareto_table(found)
    return Page(
        name="General against target ability",
        headline=f"Chosen: {_named(found.chosen)}.",
        sections=(
            Section("levels", levels.title, levels.note, levels, curves_figure(found)),
            Section("pareto", front.title, "", front, pareto_figure(found)),
        ),
    )


def write_trade_off(found: TradeOff, out: str | Path) -> Path:
    """Write the trade-off as one HTML file that works offline, as ``write_page`` does."""
    return write_page(trade_off_page(found), out, FILE_NAME)
