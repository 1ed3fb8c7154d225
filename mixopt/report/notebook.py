"""What notebooks show: values as HTML, and the report's figures one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from mixopt.errors import StudyError
from mixopt.propose.recommendation import Recommendation
from mixopt.report import figures, response_figures
from mixopt.report import numbers as fmt
from mixopt.report.components import Figure, NotApplicable, Page, Section, Table
from mixopt.report.page import environment
from mixopt.report.recommendation_tables import phase_title
from mixopt.report.report_data import ReportData, report_data
from mixopt.space import Schedule, SearchSpace
from mixopt.study.view import StudyView

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

#: Trials that a study shows, the best first.
LEADERS = 5


@singledispatch
def html_of(value: object) -> str:
    """A value as HTML; everything that comes from outside is escaped."""
    raise TypeError(f"no table shows {type(value).__name__}")


@html_of.register
def _(value: Schedule) -> str:
    return _section("Schedule", "Shares of training tokens.", schedule_table(value))


@html_of.register
def _(value: Recommendation) -> str:
    return _section("Recommendation", value.verdict, schedule_table(value.schedule, value.epochs))


@html_of.register
def _(value: SearchSpace) -> str:
    known = value.baseline != "natural" or all(d.tokens is not None for d in value.domains)
    baseline = value.baseline_schedule.exposure() if known else {}
    caps = [d.max_epochs or value.max_epochs for d in value.domains]
    rows = tuple(
        (d.name, fmt.count(d.tokens), fmt.share(baseline.get(d.name)), f"{cap:g}" if cap else "")
        for d, cap in zip(value.domains, caps, strict=True)
    )
    table = Table("", ("domain", "tokens", "baseline", "most epochs"), rows)
    phases = ", ".join(p.name for p in value.phases)
    return _section(f"Search space {value.name}", f"Phases: {phases}.", table)


@html_of.register
def _(value: StudyView) -> str:
    frame = value.trials()
    states = Counter(str(record.state) for record in value.records())
    counts = ", ".join(f"{n} {state}" for state, n in states.items()) or "no trials yet"
    ranked = frame["objective"] * value.objective.sign
    best = frame.loc[ranked.nsmallest(LEADERS).index] if len(frame) else frame
    rows = tuple(
        (str(row["trial"]), str(row["state"]), fmt.value(row["objective"]))
        for row in best.to_dict("records")
    )
    objective = " + ".join(f"{w:.3g} {n}" for n, w in value.objective.weights.items() if w)
    verb = "Minimises" if value.objective.goal == "minimize" else "Maximises"
    intro = f"{verb} {objective}. Trials: {counts}. {value.stop_reason or ''}"
    table = Table("", ("best trials", "state", "objective"), rows, text=frozenset({1}))
    return _section(f"Study {value.name}", intro, table if rows else None)


def schedule_table(schedule: Schedule, epochs: dict[str, float] | None = None) -> Table:
    """Weights per domain and phase, and the share of the whole run."""
    exposure, known = schedule.exposure(), epochs or {}
    titles = [phase_title(schedule, index) for index in range(len(schedule.phases))]
    rows = tuple(
        (
            name,
            *(fmt.share(phase.mixture.get(name, 0.0)) for phase in schedule.phases),
            fmt.share(exposure[name]),
            *([fmt.times(known.get(name))] if known else []),
        )
        for name in exposure
    )
    return Table("", ("domain", *titles, "exposure", *(["epochs"] if known else [])), rows)


def _section(title: str, intro: str, table: Table | None) -> str:
    page = Page(title, "", sections=(Section("mixopt", title, intro, table),))
    return environment().get_template("sections.html").render(page=page)


#: What was last shown of each study, with the results that it was made from.
_SHOWN: WeakKeyDictionary[Any, tuple[Any, ReportData]] = WeakKeyDictionary()


def _data_of(study: Any, domains: Sequence[str] | None) -> ReportData:
    """Everything the figures show; made again where there are new results."""
    seen = [(r.trial.id, r.state) for r in study.records()], domains
    if study not in _SHOWN or _SHOWN[study][0] != seen:
        _SHOWN[study] = seen, report_data(study, domains=domains)
    return _SHOWN[study][1]


@dataclass(frozen=True)
class StudyPlots:
    """The figures of a study's report, as plotly figures.

    Args:
        study: Open in its storage.
    """

    study: Any

    def history(self) -> PlotlyFigure:
        """Observed objective of the trials in order, and the best so far."""
        return self._drawn(figures.history)

    def effects(self) -> PlotlyFigure:
        """Change of the objective per percentage point of each domain."""
        return self._drawn(response_figures.effects)

    def tradeoff(self) -> PlotlyFigure:
        """Best predicted objective at each upsample fraction."""
        return self._drawn(figures.trade_off)

    def predicted_observed(self) -> PlotlyFigure:
        """Observed objective against that predicted out of fold."""
        return self._drawn(figures.predicted_observed)

    def map(self, domains: Sequence[str] | None = None) -> PlotlyFigure:
        """The objective over three domains of the last phase, allowed weights only.

        Args:
            domains: Three names; None for the largest that can move.

        Raises:
            StudyError: If they are not three domains whose weights can move.
        """
        return self._drawn(response_figures.ternary, domains)

    def _drawn(
        self, draw: Callable[[ReportData], Figure], domains: Sequence[str] | None = None
    ) -> PlotlyFigure:
        from plotly.graph_objects import Figure as PlotlyFigure

        try:
            return PlotlyFigure(fmt.plain(draw(_data_of(self.study, domains))))
        except NotApplicable as reason:
            raise StudyError(
                f"the figure shows nothing: {reason}", "see study.trials() for what there is"
            ) from None
