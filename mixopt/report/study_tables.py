"""Tables of a study: its trials, its surrogate, its cost, and what a run would cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from mixopt.report import numbers as fmt
from mixopt.report.answer import TEXTS
from mixopt.report.components import Table
from mixopt.space import Kind, Split
from mixopt.surrogate import SurrogateRow

if TYPE_CHECKING:
    from mixopt.report.report_data import ReportData

CHECKS = (Kind.confirmation, Kind.comparison)
#: Domains named in a trial's row.
NAMED = 3


def search_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """The rows of the search and of attached runs, without those that check its answer."""
    return trials[~trials["kind"].isin(CHECKS)]


def trials_table(data: ReportData) -> Table:
    """Every trial with its state and objective; the best observed one is stressed."""
    frame = data.trials
    best = data.recommendation.best_observed.trial if data.recommendation else None
    sizes = frame.groupby(["parameters", "tokens"]).ngroups > 1
    rows = tuple(_trial(row, data, best, sizes) for row in frame.to_dict("records"))
    columns = ("trial", "kind", "objective", "held-out text", "state", "mixture")
    return Table(
        "Trials",
        columns,
        rows,
        text=frozenset({1, 3, 4, 5}),
        strong=frozenset(i for i, name in enumerate(frame["trial"]) if name == best),
        note=f"The {NAMED} largest shares of each phase are named. A trial's mixture is exported "
        "by its id: mixopt export STUDY --to FORMAT --trial ID.",
    )


def _trial(row: dict[Any, Any], data: ReportData, best: str | None, sizes: bool) -> tuple[str, ...]:
    state = str(row["state"]).replace("_", " ")
    if row["trial"] == best:
        state += ", best observed"
    elif row.get("reason"):
        state += f": {row['reason']}"
    if row.get("predicted_end_sd", 0.0) > 0:
        wide = 1.96 * row["predicted_end_sd"]
        state += f", predicted end {fmt.value(row['predicted_end'])} ± {fmt.value(wide)}"
    if sizes:
        state += f", {fmt.count(row['parameters'])} × {fmt.count(row['tokens'])} tokens"
    parts = [_mixture(row, phase.name) for phase in data.space.phases]
    return (
        row["trial"],
        row["label"] or row["kind"],
        fmt.value(row["objective"]),
        TEXTS[Split(row["split"])],
        state,
        "; ".join(part for part in parts if part),
    )


def _mixture(row: dict[Any, Any], phase: str) -> str:
    start = f"{phase}/"
    # Half a per cent would be shown as none.
    found = {k[len(start) :]: v for k, v in row.items() if str(k).startswith(start) and v >= 0.005}
    if not found:
        return ""
    shares = sorted(found.items(), key=lambda item: -item[1])
    named = ", ".join(f"{name} {100 * weight:.0f}\u00a0%" for name, weight in shares[:NAMED])
    return f"{phase}: {named}{', …' * (len(shares) > NAMED)}"


def cost_table(data: ReportData) -> Table:
    """Trials, tokens, FLOPs and time of the search and of the runs that check its answer."""
    kind = data.trials["kind"]
    parts = [
        ("search", search_trials(data.trials)),
        ("confirmation", data.trials[kind == Kind.confirmation]),
    ]
    if (kind == Kind.comparison).any():
        parts.append(("attribution and controls", data.trials[kind == Kind.comparison]))
    rows = tuple(
        (
            label,
            str(len(mine)),
            str(int((mine["state"] == "failed").sum())),
            fmt.count(_total(mine["tokens"])),
            fmt.flops(_total(mine["flops"])),
            fmt.duration(_total(mine["seconds"])),
        )
        for label, mine in parts
    )
    limits = ", ".join(f"{fmt.count(v)} {k}" for k, v in data.budget.items())
    note = f"Budget of the search: {limits}." if limits else "The search had no budget."
    columns = ("runs", "number", "failed", "tokens", "FLOPs", "trainer time")
    return Table("Cost", columns, rows, note=note)


def _total(values: pd.Series[float]) -> float:
    """The sum; not a number where none of the values is known."""
    return float(values.sum(min_count=min(1, len(values))))


def surrogate_table(rows: Sequence[SurrogateRow]) -> Table | None:
    """How well each metric was predicted out of fold, and by what."""
    if not rows:
        return None
    cells = tuple(
        (
            row.metric,
            fmt.value(row.spearman, 2),
            fmt.value(row.rmse),
            fmt.share(row.coverage),
            _members(row.weights),
            row.fallback or "; ".join(row.notes),
        )
        for row in rows
    )
    columns = ("metric", "rank correlation", "error", "coverage", "predicted by", "to know")
    return Table(
        "Surrogate",
        columns,
        cells,
        text=frozenset({4, 5}),
        note="Of trials that the fit had not seen: rank correlation, root mean squared error in "
        "the metric's unit, share within the 95 % interval. Predictions are weighted means of "
        "models.",
    )


def member_table(rows: Sequence[SurrogateRow]) -> Table | None:
    """The laws and processes behind the surrogate, each with its own error."""
    names = list(dict.fromkeys(name for row in rows for name in row.errors))
    if len(names) < 2:
        return None
    cells = []
    for name in names:
        mine = [row for row in rows if name in row.errors]
        over = [row.errors[name] / row.rmse for row in mine if row.rmse]
        best = sum(min(row.errors, key=row.errors.__getitem__) == name for row in mine)
        weight = sum(row.weights.get(name, 0.0) for row in mine) / len(mine)
        ratio = math.exp(sum(map(math.log, filter(None, over))) / len(over)) if over else None
        cells.append((name, fmt.share(weight), fmt.value(ratio, 2), f"{best} of {len(mine)}"))
    return Table(
        "Laws",
        ("member", "mean weight", "error over the surrogate's", "best alone on metrics"),
        tuple(cells),
        note="Errors of trials that the fit had not seen, each member alone over all together: "
        "geometric mean over the metrics. A member of no weight has been judged too.",
    )


def _members(weights: dict[str, float]) -> str:
    shares = sorted(weights.items(), key=lambda item: -item[1])
    return ", ".join(f"{100 * w:.0f}\u00a0% {name}" for name, w in shares if w >= 0.005)
