"""Finished runs from elsewhere, attached to a study: what others logged, learned from here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mixopt.analysis.csv_table import CsvTable, Source
from mixopt.analysis.logged_runs import logged_runs
from mixopt.analysis.metric_units import to_minimise
from mixopt.analysis.run_tables import PLACES, RunTable, read_runs
from mixopt.errors import StudyError
from mixopt.space import Fidelity, Phase, Schedule
from mixopt.space.geometry.layout import Layout
from mixopt.space.mixture import Mixture
from mixopt.study.config import StudyConfig
from mixopt.study.results.recording import Attachment, attachment

if TYPE_CHECKING:
    from pandas import DataFrame


class Attaching(Protocol):
    """A study, here or served, that takes finished runs."""

    @property
    def config(self) -> StudyConfig:
        """What its results depend on."""

    def attach_all(self, runs: Sequence[Attachment]) -> int:
        """Add finished runs; returns how many were not there yet."""


@dataclass(frozen=True)
class ImportedRuns:
    """What was attached.

    Attributes:
        trials: Ids of the runs in the study.
        new: How many of them the study did not have yet.
        unfinished: Runs that were left out because they did not end well.
        left_out: What else is not used, in sentences.
    """

    trials: tuple[str, ...]
    new: int
    unfinished: int
    left_out: tuple[str, ...]


def import_runs(
    study: Attaching,
    runs: Source,
    metrics: Source | None = None,
    *,
    optuna_study: str | None = None,
    domain_columns: Mapping[str, str] | None = None,
    metric_columns: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    normalise: bool = False,
) -> ImportedRuns:
    """Attach finished runs to a study, all or none; doing it again does nothing.

    The metrics of the objective are taken, and those that are named here.

    Args:
        study: Learns from them.
        runs: CSV or Parquet file, also as exported from W&B or MLflow; a DataFrame; or with
            ``optuna_study``, the URL of an Optuna storage. As ``mixopt.fit`` reads it.
        metrics: A table of the metrics, where they are in another.
        optuna_study: Name of the study in an Optuna storage.
        domain_columns: Column of a domain's weight, where it is not called as the domain.
        metric_columns: Column of a metric, where it is not called as the metric.
        units: One of ``UNITS`` per metric; asked for where a metric is not plainly a loss.
        normalise: Whether rows of weights are divided by their sum.

    Raises:
        StudyError: If the tables cannot be read, lack a metric of the objective, leave a unit open,
            or hold runs of another fidelity than a study of one.
        SpaceError: If they name a domain or phase that the space has not.
    """
    source, unfinished = logged_runs(runs, optuna_study)
    given, units, config = dict(metric_columns or {}), units or {}, study.config
    wanted = list(dict.fromkeys([*config.objective.metrics, *given, *units]))
    domains = config.space.names
    if domain_columns or given or normalise:
        # A domain and the loss on it often have one name, so each has a table of its own.
        right = source if metrics is None else metrics
        metrics = _called(_frame(right), wanted, given, PLACES)
        source = _called(_frame(source), domains, dict(domain_columns or {}))
        source = _normalised(source, domains) if normalise else source
    table = read_runs(source, metrics, domains=domains, needed=wanted)
    table = _minimised(table.take(table.ends), wanted, given, units)
    found = _attachments(config, table)
    new = study.attach_all(found)
    return ImportedRuns(tuple(t.id for t, _ in found), new, unfinished, table.left_out)


def _frame(source: Source) -> DataFrame:
    from pandas import DataFrame

    if isinstance(source, DataFrame):
        return source
    table = CsvTable.read(source)
    return DataFrame(table.rows, columns=list(table.header))


def _called(
    frame: DataFrame, names: Sequence[str], columns: Mapping[str, str], also: Sequence[str] = ()
) -> DataFrame:
    """The runs' key, the columns of some names under these, and others that are there."""
    missing = [n for n in names if columns.get(n, n) not in frame]
    if missing:
        raise StudyError(
            f"the table must have a column {columns.get(missing[0], missing[0])!r}; it has "
            f"{', '.join(map(str, frame))}",
            f"name the column: --domain {missing[0]}=COLUMN, or --metric {missing[0]}=COLUMN",
        )
    key = frame["run"] if "run" in frame else range(1, len(frame) + 1)
    found = {n: frame[columns.get(n, n)] for n in names}
    return frame[[c for c in also if c in frame]].assign(run=key, **found)


def _normalised(frame: DataFrame, names: Sequence[str]) -> DataFrame:
    try:
        weights = frame[list(names)].astype(float)
    except ValueError as error:
        raise StudyError(f"weights must be numbers: {error}", "mend the table") from None
    if (weights < 0).any(axis=None) or (weights.sum(axis=1) <= 0).any():
        raise StudyError(
            "weights to be normalised must not be negative, and one in each row above 0",
            "numbers before a softmax are no weights: turn them into shares first",
        )
    return frame.assign(**weights.div(weights.sum(axis=1), axis=0))


def _minimised(
    table: RunTable, wanted: Sequence[str], columns: Mapping[str, str], units: Mapping[str, str]
) -> RunTable:
    """The wanted metrics alone, as numbers to minimise."""
    known = {n: i for names in (table.long_names, table.metrics) for i, n in enumerate(names)}
    missing = [m for m in wanted if m not in known]
    if missing:
        raise StudyError(
            f"the runs must hold the metrics {', '.join(wanted)}; they lack {', '.join(missing)}",
            f"they hold {', '.join(table.metrics)}; name the column: --metric {missing[0]}=COLUMN",
        )
    order = [known[m] for m in wanted]
    names = {m: columns.get(m, table.long_names[i]) for m, i in zip(wanted, order, strict=True)}
    return replace(table, metrics=tuple(wanted), Y=to_minimise(names, units, table.Y[:, order]))


def _attachments(config: StudyConfig, table: RunTable) -> list[Attachment]:
    """Each run as a finished trial under its own name."""
    weights = table.weights
    W, F = Layout(len(weights.domains), len(weights.phases)).split(table.X)
    names = weights.phases if len(weights.phases) > 1 else (config.space.phases[0].name,)
    found = []
    for i, run in enumerate(table.ids):
        phases = tuple(
            Phase(
                name=name,
                fraction=float(fraction),
                mixture=Mixture.from_array(weights.domains, row),
            )
            for name, row, fraction in zip(names, W[i], F[i], strict=True)
            if fraction > 0
        )
        known = ~np.isnan(table.Y[i])
        values = {
            m: float(v) for m, v, k in zip(table.metrics, table.Y[i], known, strict=True) if k
        }
        size = _size(table, i, config.fidelity)
        trial = "import-" + "".join(c if c.isalnum() or c in "._-" else "-" for c in run)[:90]
        found.append(attachment(config, Schedule(phases=phases), values, size, trial))
    return found


def _size(table: RunTable, i: int, usual: Fidelity) -> Fidelity:
    """The fidelity of a run; what its table does not say is the study's."""
    parameters = usual.parameters if table.parameters is None else round(table.parameters[i])
    tokens = usual.tokens if table.tokens is None else round(table.tokens[i])
    return Fidelity(parameters=parameters, tokens=tokens)
