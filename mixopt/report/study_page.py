"""The report of a study: the answer first, then what it rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mixopt.report import answer as lead
from mixopt.report import figures
from mixopt.report import numbers as fmt
from mixopt.report import response_figures as maps
from mixopt.report.components import Figure, NotApplicable, Page, Section, Table
from mixopt.report.page import render_page, write_page
from mixopt.report.recommendation_tables import (
    confirmation_table,
    guardrail_table,
    metric_table,
    mixture_table,
)
from mixopt.report.report_data import ReportData
from mixopt.report.study_tables import (
    cost_table,
    member_table,
    surrogate_table,
    trials_table,
)
from mixopt.space import SearchSpace

if TYPE_CHECKING:
    from mixopt.propose import Recommendation

FILE_NAME = "report.html"


def write_report(data: ReportData, out: str | Path) -> Path:
    """Write the report as one HTML file that works offline, as ``write_page`` does."""
    return write_page(report_page(data), out, FILE_NAME)


def render_report(data: ReportData) -> str:
    """The report's text."""
    return render_page(report_page(data))


def report_page(data: ReportData) -> Page:
    """What the report shows."""
    rec, answer = data.recommendation, data.answer
    parts = (part(data) for part in (_schedule, _expectation, _choices, _learned, _evidence))
    sections = tuple(section for part in parts for section in part if section is not None)
    facts = tuple(_facts(data))
    if rec is None or answer is None:
        none = "No recommendation yet: too few trials have finished."
        return Page(data.name, none, facts=facts, sections=sections)
    order = (rec.order_verdict,) if rec.order_verdict else ()
    tokens = lead.worth_sentences(data.worth)[:1] if data.worth else ()
    return Page(
        name=data.name,
        headline=rec.verdict,
        leads=(what_to_do(rec, data.space), *order, *tokens),
        tiles=lead.tiles(answer),
        scale=lead.scale_sentence(answer.goal, answer.unit),
        facts=facts,
        notes=rec.notes,
        sections=sections,
    )


def what_to_do(rec: Recommendation, space: SearchSpace) -> str:
    """The schedule in a sentence."""
    phases = rec.schedule.phases
    if len(phases) == 1:
        open_end = len(space.phases) > 1
        tail = ": none of the endings tried is predicted to pay" if open_end else ""
        return f"Train on one mixture from start to end{tail}."
    parts = [f"{100 * p.fraction:.3g} % on the {p.name} mixture" for p in phases]
    return f"Train {', then '.join(parts)}."


def _facts(data: ReportData) -> list[tuple[str, str]]:
    objective = " + ".join(f"{w:.3g} {n}" for n, w in data.objective.weights.items() if w)
    goal = "maximize " if data.objective.goal == "maximize" else ""
    facts = [("objective", f"{goal}{objective}")]
    differ = data.recommendation.target if data.recommendation else None
    if data.fidelity is not None:
        facts.append(("trials, at most" if differ else "trials", fmt.fidelity(data.fidelity)))
    target = differ or data.space.target
    if target is not None:
        facts.append(("target", fmt.fidelity(target)))
    if data.stop_reason:
        facts.append(("stopped", data.stop_reason))
    seed = "" if data.seed is None else f", seed {data.seed}"
    facts.append(("made by", f"mixopt {data.version}{seed}, {data.date.isoformat()}"))
    return facts


def _schedule(data: ReportData) -> Iterator[Section | None]:
    rec = data.recommendation
    yield _tabled("schedule", mixture_table(rec, data.space) if rec else None)
    yield _drawn(
        "weights", "Weights", "Share of training tokens per domain.", figures.weights, data
    )


def _expectation(data: ReportData) -> Iterator[Section | None]:
    answer = data.answer
    table = lead.answer_table(answer) if answer else None
    intro = f"{table.note} Bars are 95 % intervals." if table else ""
    yield _drawn("outcome", "What to expect", intro, figures.outcome, data, table)
    missing = "Not applicable: no confirmation run has finished."
    yield _tabled("confirmation", confirmation_table(answer) if answer else None) or Section(
        "confirmation", "Confirmation runs", missing=missing
    )
    intro = (
        "Values on the search's held-out text. Intervals of predictions hold no run-to-run noise; "
        "those of fresh seeds are of their mean, by Student's t."
    )
    yield _drawn("fresh", "Predictions against fresh seeds", intro, figures.fresh, data)
    if answer is not None:
        text = " ".join(lead.worth_sentences(data.worth)) if data.worth else ""
        missing = "" if data.worth else f"Not known: {data.no_worth}."
        yield Section("worth", "What the gain is worth in tokens", text, missing=missing)


def _choices(data: ReportData) -> Iterator[Section | None]:
    rec = data.recommendation
    intro = "The best schedule at each length of the last phase, with its 95 % interval."
    yield _drawn("trade-off", "Upsample fraction", intro, figures.trade_off, data)
    intro = "The metrics that change most along the same schedules, against the baseline."
    draw = figures.trade_off_metrics
    yield _drawn("trade-off-metrics", "What the last phase trades", intro, draw, data)
    intro = "How often a run at the target would read each domain."
    yield _drawn("epochs", "Epochs against caps", intro, figures.epochs, data)
    if rec is not None:
        yield _tabled("metrics", metric_table(rec, data.objective.weights))
        yield _tabled("guardrails", guardrail_table(rec))


def _learned(data: ReportData) -> Iterator[Section | None]:
    moves = "One weight moves at the recommendation, and the others of its phase shrink or grow "
    moves += "alike, as far as bounds and caps allow."
    better = "Negative" if data.objective.goal == "minimize" else "Positive"
    intro = f"Predicted change per percentage point of each domain. {moves} {better} is better."
    yield _drawn("effects", "Effect of each domain", intro, maps.effects, data)
    intro = "The same change for every metric; blue is better."
    yield _drawn("metric-map", "Domains and metrics", intro, maps.metric_map, data)
    intro = f"Predicted objective minus the baseline's, with its 95 % interval. {moves}"
    yield _drawn("slices", "Along each weight", intro, maps.slices, data)
    intro = "Predicted objective minus the baseline's where the three largest domains of the last "
    intro += "phase share what the others leave; mixtures that the space forbids are left out."
    yield _drawn("ternary", "Between the largest domains", intro, maps.ternary, data)


def _evidence(data: ReportData) -> Iterator[Section | None]:
    intro = "Observed objective of each trial; dotted lines part the rounds."
    for state, word in (("failed", "failed"), ("ended_early", "ended early")):
        count = int((data.trials["state"] == state).sum())
        if count:
            intro += f" Not shown: {count} {'trial' if count == 1 else 'trials'} that {word}."
    yield _drawn("history", "History", intro, figures.history, data)
    how = {
        "out of fold": "Each trial is predicted by a surrogate that did not see it.",
        "in sample": "The surrogate has seen these trials, so this flatters it; the table of the "
        "surrogate gives out-of-fold figures.",
    }.get(data.predictions_how, data.predictions_how)
    title = "Predicted against observed"
    intro = f"{how} Bars are 95 % intervals of one observation."
    if len(data.predictions) and not data.predictions["observed"].all():
        title = "Predicted against learned from"
        intro += " Open circles are trials of other sizes, extrapolated to the target."
    yield _drawn("predicted", title, intro, figures.predicted_observed, data)
    if data.recommendation is not None:
        yield _tabled("surrogate", surrogate_table(data.recommendation.surrogate))
        yield _tabled("laws", member_table(data.recommendation.surrogate))
    yield _tabled("cost", cost_table(data))
    yield _tabled("trials", trials_table(data)) if len(data.trials) else None


def _drawn(
    key: str,
    title: str,
    intro: str,
    draw: Callable[[ReportData], Figure],
    data: ReportData,
    table: Table | None = None,
) -> Section:
    try:
        return Section(key, title, intro, table, draw(data))
    except NotApplicable as reason:
        return Section(key, title, "", table, missing=f"Not applicable: {reason}.")


def _tabled(key: str, table: Table | None) -> Section | None:
    return None if table is None else Section(key, table.title, table.note, table)
