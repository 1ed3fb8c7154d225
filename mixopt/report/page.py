"""The HTML report: one file, no request to anywhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixopt.errors import StudyError
from mixopt.report import figures
from mixopt.report import numbers as fmt
from mixopt.report.report_data import ReportData
from mixopt.report.table_rows import (
    Table,
    confirmation_table,
    cost_table,
    guardrail_table,
    metric_table,
    mixture_table,
    outcome_table,
    records_table,
)

FILE_NAME = "report.html"


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        key: For its link.
        title: Heading.
        intro: How to read it.
        table: A table, if it has one.
        figure: A plotly specification, if it has one.
        missing: Why its figure cannot be shown.
    """

    key: str
    title: str
    intro: str = ""
    table: Table | None = None
    figure: figures.Figure | None = None
    missing: str = ""


def write_report(data: ReportData, out: str | Path) -> Path:
    """Write the report as one HTML file that works offline.

    Args:
        data: What to show.
        out: The file (``*.html``), or a folder for ``report.html``; folders are made.

    Returns:
        The file written.

    Raises:
        StudyError: If it cannot be written.
    """
    return write_page(render_report(data), Path(out), FILE_NAME, "the report")


def write_page(text: str, out: Path, name: str, what: str) -> Path:
    """Write a page so that it is never half there.

    Args:
        text: The page.
        out: The file (``*.html``), or a folder for a file of that name; folders are made.
        name: Of the file in a folder.
        what: What to call it in an error.

    Raises:
        StudyError: If it cannot be written.
    """
    path = out if out.suffix == ".html" else out / name
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise StudyError(
            f"{what} cannot be written to {path}: {error}", "give another folder"
        ) from None
    return path


def render_report(data: ReportData) -> str:
    """The page's text."""
    from jinja2 import Environment, FileSystemLoader
    from plotly.offline import get_plotlyjs

    folder = Path(__file__).with_name("templates")
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, trim_blocks=True)
    sections = [make(data) for make in _SECTIONS]
    return environment.get_template("report.html").render(
        data=data,
        headline=headline(data),
        tiles=_tiles(data),
        sections=[s for s in sections if s is not None],
        notes=[*(data.recommendation.notes if data.recommendation else ()), *data.notes],
        facts=_facts(data),
        figures={s.key: fmt.plain(s.figure) for s in sections if s is not None and s.figure},
        plotly=get_plotlyjs(),
    )


def headline(data: ReportData) -> str:
    """What to do, in a sentence."""
    rec = data.recommendation
    if rec is None:
        return "No recommendation yet: too few trials have finished."
    phases = rec.schedule.phases
    if len(phases) == 1:
        open_end = len(data.space.phases) > 1
        tail = ": none of the endings tried is predicted to pay" if open_end else ""
        return f"Train on one mixture from start to end{tail}."
    parts = [f"{100 * p.fraction:.3g} % on the {p.name} mixture" for p in phases]
    return f"Train {', then '.join(parts)}."


def _tiles(data: ReportData) -> list[tuple[str, str, str]]:
    """Four numbers side by side: label, number, what stands below it."""
    rec = data.recommendation
    if rec is None:
        return []
    base = rec.baseline_observed
    best = rec.best_observed
    return [
        ("Predicted", fmt.value(rec.predicted.mean), _interval(rec.predicted)),
        ("Optimism removed", fmt.value(rec.corrected.mean), _interval(rec.corrected)),
        ("Best observed", fmt.value(best.value), f"trial {best.trial}"),
        (
            "Baseline",
            fmt.value(rec.baseline.mean if base is None else base),
            "observed" if base is not None else _interval(rec.baseline),
        ),
    ]


def _interval(estimate: Any) -> str:
    return f"{estimate.low:.4f} to {estimate.high:.4f}"


def _facts(data: ReportData) -> list[tuple[str, str]]:
    objective = " + ".join(f"{w:.3g} {n}" for n, w in data.objective.weights.items() if w)
    facts = [("objective", objective)]
    differ = data.recommendation.target if data.recommendation else None
    if data.fidelity is not None:
        facts.append(("trials, at most" if differ else "trials", _fidelity(data.fidelity)))
    target = differ or data.space.target
    if target is not None:
        facts.append(("target", _fidelity(target)))
    if data.stop_reason:
        facts.append(("stopped", data.stop_reason))
    return facts


def _fidelity(f: Any) -> str:
    return f"{fmt.count(f.parameters)} parameters on {fmt.count(f.tokens)} tokens"


def _drawn(
    key: str,
    title: str,
    intro: str,
    draw: Callable[[ReportData], figures.Figure],
    data: ReportData,
    table: Table | None = None,
) -> Section:
    try:
        return Section(key, title, intro, table, draw(data))
    except figures.NotApplicable as reason:
        return Section(key, title, "", table, missing=f"Not applicable: {reason}.")


def _schedule(data: ReportData) -> Section | None:
    if data.recommendation is None:
        return None
    table = mixture_table(data.recommendation, data.space)
    return Section("schedule", "Recommended schedule", table.note, table)


def _weights(data: ReportData) -> Section:
    intro = "Share of training tokens per domain."
    return _drawn("weights", "Weights", intro, figures.weights, data)


def _outcome(data: ReportData) -> Section:
    table = outcome_table(data.recommendation) if data.recommendation else None
    intro = f"{table.note} Bars are 95 % intervals." if table else ""
    return _drawn("outcome", "What to expect", intro, figures.outcome, data, table)


def _confirmation(data: ReportData) -> Section:
    table = confirmation_table(data.recommendation) if data.recommendation else None
    if table is None:
        missing = "Not applicable: no confirmation run has finished."
        return Section("confirmation", "Confirmation runs", missing=missing)
    return Section("confirmation", "Confirmation runs", table.note, table)


def _history(data: ReportData) -> Section:
    intro = "Observed objective of each trial; dotted lines part the rounds."
    failed = int((data.trials["state"] == "failed").sum()) if "state" in data.trials else 0
    if failed:
        intro += f" Not shown: {failed} failed {'trial' if failed == 1 else 'trials'}."
    return _drawn("history", "History", intro, figures.history, data)


def _predicted(data: ReportData) -> Section:
    how = {
        "out of fold": "Each trial is predicted by a surrogate that did not see it.",
        "in sample": "The surrogate has seen these trials, so this flatters it; the table of the "
        "surrogate gives out-of-fold figures.",
    }.get(data.predictions_how, data.predictions_how)
    intro = f"{how} Bars are 95 % intervals of one observation."
    draw = figures.predicted_observed
    return _drawn("predicted", "Predicted against observed", intro, draw, data)


def _trade_off(data: ReportData) -> Section:
    intro = "The best schedule at each length of the last phase, as predicted."
    return _drawn("trade-off", "Upsample fraction", intro, figures.trade_off, data)


def _trade_off_metrics(data: ReportData) -> Section:
    intro = "The metrics that change most along the same schedules, against the baseline."
    draw = figures.trade_off_metrics
    return _drawn("trade-off-metrics", "What the last phase trades", intro, draw, data)


def _epochs(data: ReportData) -> Section:
    intro = "How often a run at the target would read each domain."
    return _drawn("epochs", "Epochs against caps", intro, figures.epochs, data)


def _metrics(data: ReportData) -> Section | None:
    if data.recommendation is None:
        return None
    table = metric_table(data.recommendation, data.objective.weights)
    return Section("metrics", "Metrics", table.note, table)


def _guardrails(data: ReportData) -> Section | None:
    table = guardrail_table(data.recommendation) if data.recommendation else None
    return None if table is None else Section("guardrails", "Guardrails", table.note, table)


def _surrogate(data: ReportData) -> Section | None:
    rows = data.recommendation.surrogate if data.recommendation else ()
    note = (
        "Weight of each model in the stack, and figures out of fold: rank correlation, error, "
        "coverage of the 95 % intervals. A fallback says why a fit was not trusted."
    )
    table = records_table("Surrogate", rows, note)
    return None if table is None else Section("surrogate", "Surrogate", note, table)


def _cost(data: ReportData) -> Section:
    table = cost_table(data)
    return Section("cost", "Cost", table.note, table)


_SECTIONS: tuple[Callable[[ReportData], Section | None], ...] = (
    _schedule,
    _weights,
    _outcome,
    _confirmation,
    _trade_off,
    _trade_off_metrics,
    _epochs,
    _metrics,
    _guardrails,
    _history,
    _predicted,
    _surrogate,
    _cost,
)
