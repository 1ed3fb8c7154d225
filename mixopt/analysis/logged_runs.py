"""Finished runs as other tools log them, as a table: Parquet, W&B, MLflow, Optuna."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mixopt.analysis.csv_table import CsvTable, Source
from mixopt.errors import StudyError

if TYPE_CHECKING:
    from pandas import DataFrame

#: What MLflow and Optuna put before the names of settings and results.
PREFIXES = ("params.", "metrics.", "params_", "user_attrs_")
#: Columns of the tools' own books, by the column that says how a run ended.
BOOKS = {
    "State": ("Notes", "User", "Tags", "Created", "Runtime", "Sweep", "Hostname", "Description"),
    "status": ("experiment_id", "artifact_uri", "start_time", "end_time"),
    "state": ("datetime_start", "datetime_complete", "duration"),
}
ENDED_WELL = ("finished", "complete")
#: What the tools call a run, the best first.
KEYS = ("run_id", "ID", "Name", "number")


def logged_runs(source: Source, optuna_study: str | None = None) -> tuple[Source, int]:
    """The finished runs of a source, as the readers of tables take them.

    Args:
        source: CSV or Parquet file, also as W&B and MLflow export them; a DataFrame; or with the
            name of a study, the URL of an Optuna storage.
        optuna_study: Name of the study in that storage.

    Returns:
        The table, and the number of runs left out because they did not end well.

    Raises:
        StudyError: If it cannot be read, or no run ended well.
    """
    if optuna_study is not None:
        return _finished(_of_optuna(str(source), optuna_study), str(source))
    if isinstance(source, (str, Path)):
        path = Path(source)
        if path.suffix in (".parquet", ".pq"):
            return _finished(_of_parquet(path), str(path))
        if not _is_export(path):
            return source, 0
        return _finished(_of_csv(path), str(path))
    return source, 0


def _is_export(path: Path) -> bool:
    """Whether the header of a CSV file has a column that says how a run ended."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return bool(set(BOOKS) & {name.strip('" ') for name in file.readline().split(",")})
    except (OSError, UnicodeDecodeError):
        # Whoever reads the table says what is wrong with it.
        return False


def _of_csv(path: Path) -> DataFrame:
    from pandas import read_csv

    try:
        return read_csv(path)
    except ValueError:
        # What is wrong is said as for any other table.
        CsvTable.read(path)
        raise StudyError(f"{path} cannot be read as CSV", "export the runs again") from None


def _of_parquet(path: Path) -> DataFrame:
    from pandas import read_parquet

    try:
        return read_parquet(path)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise StudyError(f"{path} cannot be read as Parquet: {reason}", "check the path") from None


def _of_optuna(url: str, name: str) -> DataFrame:
    try:
        import optuna
    except ModuleNotFoundError:
        raise StudyError(
            "reading an Optuna storage needs the package optuna, which is not installed",
            "pip install 'mixopt[optuna]'",
        ) from None
    try:
        study = optuna.load_study(study_name=name, storage=url)
        frame: DataFrame = study.trials_dataframe()
    except Exception as error:  # its storages raise what their drivers do
        raise StudyError(
            f"the Optuna study {name!r} cannot be read from {url}: {' '.join(str(error).split())}",
            "check the name and the storage's URL",
        ) from None
    if study.metric_names and len(study.metric_names) == 1:
        frame = frame.rename(columns={"value": study.metric_names[0]})
    return frame.rename(columns={f"values_{n}": n for n in study.metric_names or ()})


def _finished(frame: DataFrame, where: str) -> tuple[DataFrame, int]:
    """The runs that ended well, without the tool's own columns, named as the tool's user did."""
    state = next((column for column in BOOKS if column in frame), None)
    if state is None:
        return frame, 0
    well = frame[state].astype(str).str.lower().isin(ENDED_WELL)
    if not well.any():
        raise StudyError(f"no run of {where} ended well", "export the runs when they have finished")
    left = len(frame) - int(well.sum())
    books = {state, *BOOKS[state], *(c for c in frame if str(c).startswith(("tags.", "system_")))}
    key = next((k for k in KEYS if k in frame), None)
    frame = frame[well].drop(columns=[c for c in frame if c in books or (c in KEYS and c != key)])
    names = {c: _bare(str(c)) for c in frame}
    twice = [c for c, bare in names.items() if list(names.values()).count(bare) > 1]
    names |= {c: str(c) for c in twice}
    frame = frame.rename(columns=names)
    if key is not None:
        frame = frame.rename(columns={key: "run"})
        frame.insert(0, "run", frame.pop("run"))
    return frame.dropna(axis=1, how="all").reset_index(drop=True), left


def _bare(column: str) -> str:
    for prefix in PREFIXES:
        if column.startswith(prefix):
            return column[len(prefix) :]
    return column
