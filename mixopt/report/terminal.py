"""Tables for the terminal, as rich renderables, and the same as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from mixopt.report import numbers as fmt
from mixopt.report.answer import answer_table, worth_sentences
from mixopt.report.components import Table
from mixopt.report.recommendation_tables import (
    confirmation_table,
    guardrail_table,
    mixture_table,
)
from mixopt.space import SearchSpace
from mixopt.study.results.estimates import answer_of

if TYPE_CHECKING:
    from pandas import DataFrame

    from mixopt.analysis.token_worth import TokenWorth
    from mixopt.propose import Recommendation
    from mixopt.tune.cost_estimate import CostEstimate


def render(table: Table) -> RichTable:
    """One table as rich draws it."""
    # Names and reasons come from outside: as text, their brackets are no markup.
    title = Text(table.title, style="table.title")
    out = RichTable(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for index, heading in enumerate(table.columns):
        words = index == 0 or index in table.text
        out.add_column(Text(heading), justify="left" if words else "right", no_wrap=not words)
    for index, row in enumerate(table.rows):
        out.add_row(*map(Text, row), style="bold" if index in table.strong else None)
    out.caption = Text(table.note, style="table.caption") if table.note else None
    out.caption_justify = "left"
    return out


def recommendation_table(
    rec: Recommendation, space: SearchSpace, worth: TokenWorth | None = None
) -> RenderableType:
    """The gain first, then what to train on and what to expect of it.

    Args:
        rec: The recommendation.
        space: What was searched; gives baseline and caps.
        worth: Adds what the gain is worth in tokens.
    """
    answer = answer_of(rec)
    tables = (
        answer_table(answer),
        mixture_table(rec, space),
        confirmation_table(answer),
        guardrail_table(rec),
    )
    return Group(
        Text(rec.verdict, style="bold"),
        *([Text(rec.order_verdict)] if rec.order_verdict else []),
        *(Text(line) for line in (worth_sentences(worth) if worth else ())),
        *(render(table) for table in tables if table is not None),
        *(Text(f"note: {note}") for note in rec.notes),
    )


def candidates_table(predicted: DataFrame) -> Table:
    """Given mixtures as ``Fitted.predict`` has them."""
    rows = tuple(
        (
            str(row["name"]),
            fmt.value(row["value"]),
            fmt.interval(row["low"], row["high"]),
            fmt.signed(row["difference"]),
            fmt.interval(row["difference_low"], row["difference_high"]),
        )
        for row in predicted.to_dict("records")
    )
    columns = ("mixture", "predicted", "95 % interval", "against baseline", "95 % interval")
    note = "Of one new run each. An interval of a difference that holds 0 does not say which of "
    note += "the two is better."
    return Table("Predicted objective of the candidates", columns, rows, note=note)


def estimate_table(estimate: CostEstimate) -> Table:
    """What a run would cost at most: trials, tokens, FLOPs, time."""
    rows = [
        ("search trials", str(estimate.trials)),
        ("confirmation runs", str(estimate.confirmations)),
        ("training tokens", fmt.count(estimate.tokens)),
        ("training FLOPs", fmt.flops(estimate.flops)),
        ("first round's tokens", fmt.count(estimate.first_round)),
        ("those trained, trunks shared", fmt.count(estimate.first_round_shared)),
        ("first round's FLOPs", fmt.flops(estimate.first_round_flops)),
        ("those spent, trunks shared", fmt.flops(estimate.first_round_flops_shared)),
        ("trials at a time", str(estimate.slots)),
        ("estimated time", fmt.duration(estimate.seconds)),
        ("device-hours", fmt.value(estimate.device_hours)),
    ]
    if estimate.money is not None:
        rows.append(("money", f"{estimate.money:,.2f}"))
    return Table("At most", ("what", "how much"), tuple(rows))


def as_json(found: Any) -> str:
    """A model, a dataclass or plain values as JSON; not-a-number and infinities become null."""
    known = found.model_dump() if isinstance(found, BaseModel) else found
    known = asdict(known) if is_dataclass(known) and not isinstance(known, type) else known
    return json.dumps(fmt.plain(known), indent=2, ensure_ascii=False, default=str)
