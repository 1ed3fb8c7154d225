"""A page as one HTML file that makes no request to anywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mixopt.errors import StudyError
from mixopt.report import numbers as fmt
from mixopt.report.components import Figure, Page
from mixopt.steps import step

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")


def render_page(page: Page) -> str:
    """The page's text; everything on it is escaped."""
    template = environment().get_template("report.html")
    return template.render(page=page, figures=figures_of(page), plotly=plotly_script())


def environment(*folders: Path) -> Environment:
    """Where templates are found: in these folders, then in the report's own."""
    from jinja2 import Environment, FileSystemLoader

    loader = FileSystemLoader([*folders, TEMPLATES])
    return Environment(loader=loader, autoescape=True, trim_blocks=True)


def plotly_script() -> str:
    """Plotly's script, which the pages hold or load from their own server."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def figures_of(page: Page) -> dict[str, Figure]:
    """The figures of a page by section."""
    return {s.key: fmt.plain(s.figure) for s in page.sections if s.figure}


@step("writing the page")
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
