"""The command's frame: the apps, the options verbs share, and how results are printed."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from mixopt import __version__
from mixopt.errors import ExportError, MixoptError

if TYPE_CHECKING:
    from mixopt.propose import Recommendation
    from mixopt.study import Study

app = App(name="mixopt", version=__version__, help="Choose training-data mixtures by small runs.")
corpus_app = App(name="corpus", help="Turn text into the token shards that proxies train on.")
space_app = App(name="space", help="Look at search spaces.")
bench_app = App(name="bench", help="Replay tables of real runs, beside the recipes of peers.")
app.command(corpus_app)
app.command(space_app)
app.command(bench_app)

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON on stdout.")]
Out = Annotated[Path | None, Parameter(name="--out", help="Folder of the run.")]
Into = Annotated[
    Path | None, Parameter(name="--into", help="Folder of the files written (default the run's).")
]
Storage = Annotated[str | None, Parameter(name="--storage", help="Database URL of the study.")]


def present(study: Study, recommendation: Recommendation, json: bool) -> None:
    """Print a recommendation as JSON or as tables."""
    from mixopt.report.report_data import token_worth_or_reason
    from mixopt.report.terminal import as_json, recommendation_table

    if json:
        print(as_json(recommendation))
    else:
        worth, _ = token_worth_or_reason(study, recommendation)
        print_out(recommendation_table(recommendation, study.space, worth=worth))


def pairs(parts: Sequence[str], where: str) -> dict[str, str]:
    """Read NAME=VALUE options."""
    split = [part.partition("=") for part in parts]
    for part, (name, _, value) in zip(parts, split, strict=True):
        if not name or not value:
            raise MixoptError(
                f"{where} takes NAME=VALUE; got {part!r}", f"write {where} web=/data/web"
            )
    return {name: value for name, _, value in split}


@contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """A folder to write results into.

    Raises:
        ExportError: If it cannot be written to.
    """
    try:
        yield folder
    except OSError as error:
        raise ExportError(
            f"nothing can be written to {folder}: {error.strerror or error}",
            "name another folder with --into",
        ) from None


def show(table: Any, value: Any, json: bool) -> None:
    """Print a dataclass as JSON or as its table."""
    if json:
        print(jsonlib.dumps(asdict(value)))
    else:
        print_out(table)


def print_out(renderable: Any) -> None:
    """Print a table on stdout."""
    from rich.console import Console

    console = Console()
    # A pipe has no width of its own; 80 columns would cut the tables.
    (console if console.is_terminal else Console(width=120)).print(renderable)


def lines(value: dict[str, Any]) -> str:
    """A summary as one line per key."""
    return "\n".join(f"{key}: {short(v)}" for key, v in value.items())


def short(value: Any) -> str:
    """A value as a person reads it."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {short(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(short(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def say(text: str) -> None:
    """Tell what happens, on stderr."""
    print(text, file=sys.stderr, flush=True)


def print_rows(value: Any, table: Any, json: bool) -> None:
    """Print rows as JSON or as a table."""
    if json:
        print(jsonlib.dumps(value, indent=2))
    else:
        print_out(table)
