"""What a page and a terminal are put together from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Figure = dict[str, Any]


class NotApplicable(Exception):
    """Why a part cannot be shown; printed in its place."""


@dataclass(frozen=True)
class Table:
    """Rows of text under a title.

    Attributes:
        title: Name of what it shows.
        columns: Headings; the first column is text, the others are numbers unless in ``text``.
        rows: Cells.
        text: Columns besides the first that hold words.
        strong: Rows to stress.
        note: Sentences on how to read it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text: frozenset[int] = frozenset()
    strong: frozenset[int] = frozenset()
    note: str = ""


@dataclass(frozen=True)
class Tile:
    """One number that leads a page.

    Attributes:
        label: Name of the number.
        number: Text of it.
        below: Lines under it.
    """

    label: str
    number: str
    below: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """One part of a page.

    Attributes:
        key: Anchor of its link.
        title: Heading.
        intro: Sentences on how to read it.
        table: Table, if it has one.
        figure: Plotly specification, if it has one.
        missing: Reason for which its figure cannot be shown.
    """

    key: str
    title: str
    intro: str = ""
    table: Table | None = None
    figure: Figure | None = None
    missing: str = ""


@dataclass(frozen=True)
class Page:
    """A page, all of its texts plain.

    Attributes:
        name: Title.
        headline: Sentence that answers the question.
        leads: Sentences under it.
        tiles: Numbers under those.
        scale: Sentence on what the tiles' numbers are in.
        facts: Labels and texts.
        notes: Sentences to know before use.
        sections: Parts in order.
    """

    name: str
    headline: str
    leads: tuple[str, ...] = ()
    tiles: tuple[Tile, ...] = ()
    scale: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()
