"""A page as one HTML file that makes no request to anywhere."""

from __future__ import annotations

import os
from pathlib import Path

from mixopt.errors import StudyError
from mixopt.report import numbers as fmt
from mixopt.report.components import Page


def render_page(page: Page) -> str:
    """The page's text; everything on it is escaped."""
    from jinja2 import Environment, FileSystemLoader
    from plotly.offline import get_plotlyjs

    folder = Path(__file__).with_name("templates")
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, trim_blocks=True)
    return environment.get_template("report.html").render(
        page=page,
        figures={s.key: fmt.plain(s.figure) for s in page.sections if s.figure},
        plotly=get_plotlyjs(),
    )


def write_page(page: Page, out: str | Path, name: str) -> Path:
    """Write a page so that it is never half there.

    Args:
        page: What to write.
        out: The file (``*.html``), or a folder for a file of that name; folders are made.
        name: Name of the file in a folder.

    Returns:
        The file written.

    Raises:
        StudyError: If it cannot be written.
    """
    out = Path(out)
    path = out if out.suffix == ".html" else out / name
    part = path.with_name(f".{path.name}.{os.getpid()}")
    text = render_page(page)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise StudyError(
            f"the report cannot be written to {path}: {error}", "give another folder"
        ) from None
    return path
