"""What a study does just now, as the dashboard shows it: from its rows, without a fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mixopt.report import numbers as fmt
from mixopt.report.components import Figure, Section, Table, Tile
from mixopt.report.figure_parts import BLUE, COLOURS, GREY, axis, layout, line, points
from mixopt.space import Objective, Observation
from mixopt.study import State, StudyState, TrialRecord
from mixopt.study.state import by_trial
from mixopt.tune.time_left import seconds_left

#: Curves that are drawn at once.
CURVES = 24


@dataclass(frozen=True)
class Live:
    """The state of a study at one moment.

    Attributes:
        tiles: Numbers that lead.
        sections: Trials in flight, and the history.
    """

    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...]

    @property
    def figures(self) -> dict[str, Figure]:
        """Plotly specifications by section."""
        return {s.key: fmt.plain(s.figure) for s in self.sections if s.figure}


def live(state: StudyState, rungs: Sequence[Observation], now: float) -> Live:
    """The state of a study.

    Args:
        state: Its snapshot.
        rungs: Observations of the trials that run.
        now: Seconds since the epoch by the storage's clock.
    """
    running = [r for r in state.records if r.state == State.running]
    flight = Section(
        "flight",
        "Trials in flight",
        "" if running else "No trial runs at the moment.",
        _flight(state, running, by_trial(rungs), now) if running else None,
        _curves(state.objective, running, by_trial(rungs)),
    )
    shown = (flight, Section("live-history", "Trials so far", figure=_history(state)))
    return Live(_tiles(state, running), shown if state.finals else (flight,))


def _tiles(state: StudyState, running: Sequence[TrialRecord]) -> tuple[Tile, ...]:
    finished = sum(r.state == State.finished for r in state.records)
    failed = sum(r.state == State.failed for r in state.records)
    budget = state.settings.budget.trials if state.settings.budget else None
    spent = state.spent
    return (
        Tile("finished", str(finished), (f"of {budget} trials" if budget else "no budget",)),
        Tile("running", str(len(running)), (f"{failed} failed",)),
        Tile("tokens", fmt.count(spent.tokens), (f"{fmt.flops(spent.flops)} FLOPs",)),
        Tile("device time", fmt.duration(3600 * spent.device_hours), tuple(_to_go(state))),
    )


def _to_go(state: StudyState) -> Iterator[str]:
    """Time and money that are still to be spent, as far as they are known."""
    time, budget = state.device_time, state.settings.budget
    if state.stop_reason is None:
        left = seconds_left(state, slots=1)
    else:
        left = sum(time.seconds_of(r) for r in state.records if r.open)
    hours = None if left is None else time.hours(left)
    if hours:
        yield f"at most about {fmt.duration(3600 * hours)} to go"
    price = budget.price_per_device_hour if budget else None
    if price is not None:
        yield f"{price * state.spent.device_hours:,.2f} spent"
        if hours:
            yield f"at most about {price * hours:,.2f} to go"


def _flight(
    state: StudyState,
    running: Sequence[TrialRecord],
    rungs: dict[str, list[Observation]],
    now: float,
) -> Table:
    rows = []
    for record in running:
        seen = max((o.tokens for o in rungs.get(record.trial.id, ())), default=0)
        rows.append(
            (
                record.trial.id,
                (record.worker or "").lstrip("@").removesuffix(":0:0"),
                fmt.duration(now - (record.started or now)),
                _ends(record.expires, now),
                fmt.share(seen / record.trial.fidelity.tokens),
                fmt.value(state.value_of(record)),
            )
        )
    columns = ("trial", "worker", "runs for", "lease", "tokens", "objective")
    return Table("Trials in flight", columns, tuple(rows), text=frozenset({1}))


def _ends(expires: float | None, now: float) -> str:
    if expires is None:
        return fmt.DASH
    return f"{fmt.duration(expires - now)} left" if expires > now else "over"


def _curves(
    objective: Objective, running: Sequence[TrialRecord], rungs: dict[str, list[Observation]]
) -> Figure | None:
    traces = []
    for k, record in enumerate(running[:CURVES]):
        name = record.trial.id
        found = _curve(objective, rungs.get(name, []))
        if found:
            x, y = zip(*found, strict=True)
            traces.append(line(list(x), list(y), COLOURS[k % len(COLOURS)], name=name))
    frame = layout(axis("tokens seen"), axis("objective"), height=280)
    return {"data": traces, "layout": frame} if traces else None


def _curve(objective: Objective, rows: Sequence[Observation]) -> list[tuple[int, float]]:
    """Tokens and objective of each rung that has every metric of the objective."""
    at: dict[int, dict[str, float]] = {}
    for row in rows:
        at.setdefault(row.tokens, {})[row.metric] = row.value
    whole = {t: v for t, v in at.items() if all(name in v for name in objective.weights)}
    return [(tokens, objective.value(whole[tokens])) for tokens in sorted(whole)]


def _history(state: StudyState) -> Figure:
    """Objective of each finished trial of the search in order, beside the baseline's."""
    over = [r for r in state.search if r.trial.id in state.finals]
    values = [state.value_of(r) for r in over]
    order = list(range(1, len(over) + 1))
    names = [r.trial.id for r in over]
    traces = [points(order, values, BLUE, name="trials", text=names)]
    usual = state.space.baseline_schedule
    baseline = [v for r, v in zip(over, values, strict=True) if r.trial.schedule == usual]
    if baseline:
        level = [baseline[0]] * 2
        traces.append(line([1, max(2, len(over))], level, GREY, name="baseline", dash="dot"))
    frame = layout(axis("trial", tickformat="d"), axis("observed objective"), height=280)
    return {"data": traces, "layout": frame}
