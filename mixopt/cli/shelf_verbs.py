"""Verbs about studies that are stored or served: list, status, trials, show, archive, delete."""

from __future__ import annotations

import csv
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from mixopt.cli.app import Json, app, emit, say
from mixopt.cli.service_verbs import STORAGE, Kept, Secret
from mixopt.errors import MixoptError

if TYPE_CHECKING:
    from mixopt.service.shelf import Shelf

study_app = App(name="study", help="Look after the studies of a storage or of a service.")
app.command(study_app)


@Parameter(name="*")
@dataclass(frozen=True)
class Shelves:
    """Where studies are.

    Attributes:
        storage: Database URL.
        server: URL of a service, instead of a storage.
        token: Token of the service.
    """

    storage: Kept = STORAGE
    server: Annotated[str | None, Parameter(env_var="MIXOPT_SERVER")] = None
    token: Secret = None

    def open(self) -> Shelf:
        """The studies there."""
        from mixopt.service.shelf import open_shelf

        return open_shelf(self.storage, self.server, self.token)


HERE = Shelves()
STATES = ("finished", "running", "waiting", "ended_early", "failed")


@study_app.command(name="list")
def list_studies(*, where: Shelves = HERE, json: Json = False, csv: bool = False) -> None:
    """List studies with their number of trials per state.

    Args:
        where: The studies.
        json: Print JSON on stdout.
        csv: Print CSV on stdout.
    """
    found = where.open().studies()
    rows = [{"study": s["name"], **{k: s["trials"].get(k, 0) for k in STATES}} for s in found]
    _print("Studies", rows, found, json, csv)


@study_app.command
def status(name: str, /, *, where: Shelves = HERE, json: Json = False) -> None:
    """Show where a study stands: trials per state, spending, why it stopped.

    Args:
        name: Of the study.
        where: The studies.
        json: Print JSON on stdout.
    """
    found = where.open().info(name)
    facts = {
        **{state.value: str(n) for state, n in found.trials.items()},
        "tokens": f"{found.spent.tokens:,}",
        "FLOPs": f"{found.spent.flops:.3g}",
        "stopped": found.stop_reason or "no",
    }
    shown = "\n".join(f"{key}: {value}" for key, value in facts.items())
    emit(found.model_dump(mode="json", exclude={"config"}), json, shown)


@study_app.command(name="trials")
def list_trials(
    name: str, /, *, where: Shelves = HERE, json: Json = False, csv: bool = False
) -> None:
    """List the trials of a study with their state, objective and who runs them.

    Args:
        name: Of the study.
        where: The studies.
        json: Print JSON on stdout.
        csv: Print CSV on stdout.
    """
    found = where.open().trials(name)
    rows = [
        {
            "trial": r.trial.id,
            "kind": r.trial.kind.value,
            "state": r.state.value,
            "objective": "" if value is None else f"{value:.6g}",
            "worker": r.worker or "",
            "reason": r.reason,
        }
        for r, value in found
    ]
    whole = [
        {**asdict(r), "trial": r.trial.model_dump(mode="json"), "objective": value}
        for r, value in found
    ]
    _print(f"Trials of {name}", rows, whole, json, csv)


@study_app.command
def show(name: str, /, *, where: Shelves = HERE) -> None:
    """Print the configuration and settings of a study as JSON.

    Args:
        name: Of the study.
        where: The studies.
    """
    emit(where.open().info(name).model_dump(mode="json"), True)


@study_app.command
def archive(name: str, /, *, undo: bool = False, where: Shelves = HERE) -> None:
    """Put a study away: it hands out no trials and is not listed by the service.

    Args:
        name: Of the study.
        undo: Take it out again.
        where: The studies.
    """
    where.open().archive(name, not undo)


@study_app.command
def delete(name: str, /, *, yes: bool = False, where: Shelves = HERE) -> None:
    """Delete a study with its trials, for good.

    Args:
        name: Of the study.
        yes: Do it.
        where: The studies.
    """
    if not yes:
        raise MixoptError(
            f"deleting {name!r} cannot be undone, and --yes is not given",
            "mixopt study export keeps a copy; mixopt study archive only puts it away",
        )
    where.open().delete(name)


@study_app.command(name="export")
def export_study(name: str, path: Path, /, *, where: Shelves = HERE) -> None:
    """Copy a study with its trials and log into a file of its own.

    Args:
        name: Of the study.
        path: The file (SQLite); other verbs read it with --storage.
        where: The studies.
    """
    where.open().export(name, path)
    say(f"wrote {path}")


@study_app.command(name="import")
def import_study(path: Path, /, *, as_name: str | None = None, storage: Kept = STORAGE) -> None:
    """Copy the study of a file into a storage; trials that ran wait there.

    Args:
        path: What ``mixopt study export`` wrote.
        as_name: Its name in the storage.
        storage: Database URL.
    """
    from mixopt.service import shelf

    say(f"imported {shelf.import_study(path, storage, as_name)}")


def _print(title: str, rows: list[dict[str, Any]], whole: Any, json: bool, as_csv: bool) -> None:
    """Rows as a table or as CSV, or all that is known as JSON."""
    from mixopt.report.components import Table

    columns = tuple(rows[0]) if rows else ()
    if as_csv and not json:
        writer = csv.DictWriter(sys.stdout, columns)
        writer.writeheader()
        writer.writerows(rows)
        return
    cells = tuple(tuple(str(v) for v in row.values()) for row in rows)
    words = frozenset(i for i, c in enumerate(columns) if c not in STATES)
    emit(whole, json, Table(title, columns, cells, text=words))
