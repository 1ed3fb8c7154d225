"""How values show themselves in notebooks.

What is shown is made in the last but few rooms, ``mixopt.report``, which knows all others. Values
reach it by name when they are shown, as a data frame reaches its plotting library: nothing is
imported before, and no room above depends on it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_NOTEBOOK = "mixopt.report.notebook"


def as_html(value: Any) -> str:
    """A value as the HTML that a notebook shows."""
    return str(import_module(_NOTEBOOK).html_of(value))


def plots_of(study: Any) -> Any:
    """The figures of a study."""
    return import_module(_NOTEBOOK).StudyPlots(study)
