"""The command's frame: the apps, the options verbs share, and how results are printed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter, Token

from mixopt import __version__
from mixopt.errors import ExportError, MixoptError

if TYPE_CHECKING:
    from mixopt.study import Study
    from mixopt.tune.job import Job

app = App(
    name="mixopt",
    version=__version__,
    help="Choose training-data mixtures by small runs.",
    default_parameter=Parameter(negative=()),
)
corpus_app = App(name="corpus", help="Turn text into the token shards that proxies train on.")
space_app = App(name="space", help="Look at search spaces.")
bench_app = App(name="bench", help="Replay tables of real runs, beside the recipes of peers.")
for part in (corpus_app, space_app, bench_app):
    app.command(part)

StudyPath = Annotated[
    Path, Parameter(help="YAML file of the study, or the folder of an earlier run.")
]
Json = Annotated[bool, Parameter(help="Print JSON on stdout.")]
Into = Annotated[
    Path | None, Parameter(help="Folder of the files written (default that of the run).")
]
#: An option that takes one value or more at a time.
Names = Annotated[list[str], Parameter(consume_multiple=True)]


def _amount(_: type, tokens: Sequence[Token]) -> int:
    """A whole number as people write it: 4096, 1e9 or 100B."""
    from mixopt.space.written_numbers import read_number

    found = read_number(tokens[0].value)
    if not isinstance(found, int):
        raise ValueError(f"must be a whole number such as 4096, 1e9 or 100B; got {tokens[0].value}")
    return found


#: A number of tokens, sequences or the like.
Amount = Annotated[int, Parameter(converter=_amount)]


@Parameter(name="*")
@dataclass(frozen=True)
class Where:
    """Where a run is, and how results are printed.

    Attributes:
        out: Folder of the run (default runs/NAME).
        storage: Database URL of the study (default SQLite in the folder).
        json: Print JSON on stdout.
    """

    out: Path | None = None
    storage: str | None = None
    json: Json = False

    def job(self, study: Path) -> Job:
        """The study's file, with the folder and the storage asked for."""
        from mixopt.tune.job import Job

        return Job.open(study, self.out, self.storage)

    def study(self, study: Path) -> Study:
        """The study in its storage, to be read."""
        return self.job(study).existing_study()


#: Where nothing else is said.
HERE = Where()


def emit(found: Any, json: bool, *shown: Any) -> None:
    """Print a result as JSON, or what shows it: texts as they are, tables as they fit."""
    from rich.console import Console

    from mixopt.report.components import Table
    from mixopt.report.terminal import as_json, render

    texts = [as_json(found)] if json else shown
    console = Console()
    # A pipe has no width of its own; 80 columns would cut the tables.
    console = console if console.is_terminal else Console(width=120)
    for part in texts:
        if isinstance(part, str):
            print(part)
        else:
            console.print(render(part) if isinstance(part, Table) else part)


def pairs(parts: Sequence[str], where: str) -> dict[str, str]:
    """Read NAME=VALUE options."""
    split = [part.partition("=") for part in parts]
    for part, (name, _, value) in zip(parts, split, strict=True):
        if not name or not value:
            raise MixoptError(
                f"{where} takes NAME=VALUE; got {part!r}", f"write {where} web=/data/web"
            )
    found = {name: value for name, _, value in split}
    if len(found) < len(split):
        raise MixoptError(f"{where} must name each thing once; got {', '.join(parts)}", "keep one")
    return found


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


def say(text: str) -> None:
    """Tell what happens, on stderr."""
    print(text, file=sys.stderr, flush=True)
