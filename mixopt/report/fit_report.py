"""What ``fit`` leaves in a folder: the schedule, exports and the report of a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mixopt import __version__
from mixopt.analysis.from_tables import Fitted
from mixopt.analysis.responses import responses
from mixopt.export import (
    ExportRequest,
    Provenance,
    ScheduleSource,
    export_source,
    write_files,
)
from mixopt.export.texts import json_text
from mixopt.report.report_data import ReportData, predictions_of
from mixopt.report.study_page import write_report
from mixopt.space import Fidelity, Kind, Schedule, Split
from mixopt.study import State

#: The format that every export can be made from later.
SCHEDULE = "schedule"


def write_fit(
    fitted: Fitted,
    out: str | Path,
    *,
    to: Sequence[str] = (),
    sequence_length: int | None = None,
    batch: int | None = None,
) -> list[Path]:
    """Write schedule, exports and report of finished runs.

    Args:
        fitted: What ``mixopt.fit`` found.
        out: Folder; made if missing.
        to: Trainers to write the schedule for, beside ``schedule.json``; paths that are not known
            stand as ``PATH_OF_<domain>``.
        sequence_length: The target's tokens per sequence, which some trainers count in.
        batch: The target's sequences per step, likewise.

    Returns:
        The files written.

    Raises:
        ExportError: If a trainer is unknown, or something it needs is missing.
        StudyError: If the report cannot be written.
    """
    folder, rec = Path(out), fitted.recommendation
    goal = rec.target or fitted.space.target or _one_size(fitted)
    source = ScheduleSource(
        rec.schedule,
        fitted.space,
        tokens=None if goal is None else goal.tokens,
        sequence_length=sequence_length,
        seed=fitted.seed,
        target=goal,
        provenance=Provenance(
            study=fitted.space.name, space=fitted.space.name, mixopt=__version__, note=rec.verdict
        ),
    )
    if goal is None:
        paths = write_files({f"{SCHEDULE}.json": _by_hand(rec.schedule)}, folder)
    else:
        paths = export_source(source, ExportRequest(to=SCHEDULE), folder)
    paths.append(write_report(fit_report_data(fitted), folder))
    for name in to:
        asked = ExportRequest(to=name, batch=batch, placeholders=True)
        paths += export_source(source, asked, folder)
    return paths


def _by_hand(schedule: Schedule) -> str:
    """A schedule whose tokens nobody knows, as ``mixopt export`` reads it with ``--tokens``."""
    phases = [
        {"name": p.name, "fraction": p.fraction, "mixture": dict(p.mixture)}
        for p in schedule.phases
    ]
    return json_text({"phases": phases})


def fit_report_data(fitted: Fitted) -> ReportData:
    """The values of a study's report, from finished runs."""
    trials = _trials(fitted)
    target = fitted.recommendation.target
    sizes = trials[["parameters", "tokens"]].to_numpy()
    observed = np.full(len(trials), target is None)
    if target is not None:
        observed = (sizes == [target.parameters, target.tokens]).all(1)
    predictions, how = predictions_of(
        fitted.space, fitted.objective, fitted.surrogate, fitted.evidence, observed
    )
    known = sizes[np.isfinite(sizes.astype(float)).all(1)]
    largest = max(known.tolist(), key=np.prod, default=None)
    return ReportData(
        name=fitted.space.name,
        space=fitted.space,
        objective=fitted.objective,
        recommendation=fitted.recommendation,
        trials=trials,
        predictions=predictions,
        predictions_how=how,
        responses=responses(fitted.problem, fitted.recommendation.schedule),
        no_worth="the gain in tokens needs the curves of both schedules at one size",
        fidelity=largest and Fidelity(parameters=int(largest[0]), tokens=int(largest[1])),
        seed=fitted.seed,
    )


def _one_size(fitted: Fitted) -> Fidelity | None:
    N, D = fitted.table.parameters, fitted.table.tokens
    if N is None or D is None:
        return None
    return Fidelity(parameters=round(float(N[0])), tokens=round(float(D[0])))


def _trials(fitted: Fitted) -> pd.DataFrame:
    """One row per run, at its end, as a study's frame of trials has them."""
    table, space = fitted.table, fitted.space
    ends = table.ends
    w = fitted.objective.coefficients(list(table.metrics))
    nothing = np.full(len(ends), np.nan)
    N = nothing if table.parameters is None else table.parameters[ends]
    D = nothing if table.tokens is None else table.tokens[ends]
    frame = pd.DataFrame(
        {
            "trial": [table.ids[i] for i in ends],
            "round": 0,
            "kind": str(Kind.attached),
            "label": "",
            "state": str(State.finished),
            "reason": "",
            "objective": table.Y[ends] @ w,
            "split": str(Split.validation),
            "parameters": N,
            "tokens": D,
            "flops": 6.0 * N * D,
            "seconds": np.nan,
        }
    )
    W, F = fitted.surrogate.layout.split(table.X[ends])
    weights = {
        f"{phase.name}/{name}": np.where(F[:, k] > 0, W[:, k, j], np.nan)
        for k, phase in enumerate(space.phases)
        for j, name in enumerate(space.names)
    }
    return pd.concat([frame, pd.DataFrame(weights)], axis=1)
