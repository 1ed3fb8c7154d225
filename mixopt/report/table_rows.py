"""The tables of a recommendation as plain text rows, for the terminal and the HTML report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mixopt.report import numbers as fmt
from mixopt.space import Schedule, SearchSpace, geometry_of
from mixopt.space.domain_tree import outline

if TYPE_CHECKING:
    from mixopt.propose import Estimate, Recommendation
    from mixopt.report.report_data import ReportData


@dataclass(frozen=True)
class Table:
    """Rows of text under a title.

    Attributes:
        title: What it shows.
        columns: Headings; the first column is text, the others are numbers unless in ``text``.
        rows: Cells.
        text: Columns besides the first that hold words.
        strong: Rows to stress.
        note: How to read it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text: frozenset[int] = frozenset()
    strong: frozenset[int] = frozenset()
    note: str = ""


def phase_title(schedule: Schedule, index: int) -> str:
    """``base, first 80 %``."""
    phase = schedule.phases[index]
    if len(schedule.phases) == 1:
        return "mixture"
    place = "first" if index == 0 else "last" if index == len(schedule.phases) - 1 else "next"
    return f"{phase.name}, {place} {100 * phase.fraction:.3g} %"


def mixture_table(rec: Recommendation, space: SearchSpace) -> Table:
    """Weights per domain and phase, upsampling ratio, epochs at the target."""
    schedule = rec.schedule
    baseline = space.baseline_schedule
    phases = range(len(schedule.phases))
    two = len(schedule.phases) > 1
    caps = {d.name: d.max_epochs or space.max_epochs for d in space.domains}
    ratios = schedule.upsampling_ratio()
    columns = ["domain", "baseline", *(phase_title(schedule, i) for i in phases)]
    columns += ["upsampling"] * two + ["epochs", "cap"]
    rows: list[tuple[str, ...]] = []
    strong: set[int] = set()
    for name in outline(space.names):
        inside = space.leaves(name)
        row = [name, fmt.share(_summed(baseline.exposure(), inside))]
        row += [fmt.share(_summed(p.mixture, inside)) for p in schedule.phases]
        if name in caps:
            cap = caps[name]
            row += [fmt.ratio(ratios.get(name, 1.0))] * two
            row += [fmt.times(rec.epochs.get(name)), fmt.DASH if cap is None else f"{cap:g}"]
        else:
            strong.add(len(rows))
            low, high = _summed(schedule.base, inside), _summed(schedule.ending, inside)
            row[0] += f" ({len(inside)} domain{'s' * (len(inside) > 1)})"
            row += [fmt.ratio(high / low if low > 0 else math.inf if high > 0 else 1.0)] * two
            row += [fmt.DASH, fmt.DASH]
        rows.append(tuple(row))
    many = len(baseline.phases) > 1
    note = "Shares of training tokens"
    note += "; the baseline has phases and is shown as its exposure" if many else ""
    note += ". Epochs are those of a run at the target." if rec.epochs else "."
    note += "".join(f" {line}." for line in _searched_rates(schedule, space))
    return Table(
        "Recommended schedule", tuple(columns), tuple(rows), strong=frozenset(strong), note=note
    )


def _searched_rates(schedule: Schedule, space: SearchSpace) -> list[str]:
    """The chosen peaks and warm-ups, where they were searched."""
    rules = {"": schedule.learning_rate} | {p.name: p.learning_rate for p in schedule.phases}
    out = []
    for axis in geometry_of(space).rate_axes:
        name = space.phases[axis.phase].name if axis.phase >= 0 else ""
        rule = rules.get(name)
        if rule is not None:
            chosen = f"{rule.peak:.3g}" if axis.name == "peak" else f"{100 * rule.warmup:.3g} %"
            out.append(f"{name or 'whole run'}: {axis.name} {chosen}".replace("warmup", "warm-up"))
    return out


def _summed(weights: Mapping[str, float], inside: Sequence[str]) -> float:
    return sum(weights.get(name, 0.0) for name in inside)


def outcome_table(rec: Recommendation) -> Table:
    """Predicted, corrected, best observed and baseline, side by side."""
    rows = [
        _estimate("recommendation, predicted", rec.predicted, rec.baseline.mean),
        _estimate("recommendation, optimism removed", rec.corrected, rec.baseline.mean),
    ]
    best = rec.best_observed
    against = rec.baseline_observed
    gap = best.value - (rec.baseline.mean if against is None else against)
    rows.append((f"best observed ({best.trial})", fmt.value(best.value), "", fmt.signed(gap)))
    rows.append(_estimate("baseline, predicted", rec.baseline, rec.baseline.mean))
    if against is not None:
        rows.append(("baseline, observed", fmt.value(against), "", ""))
    for label, found in references(rec).items():
        rows.append(_estimate(f"{label}, predicted", found, rec.baseline.mean))
    return Table(
        "Objective",
        ("schedule", "objective", "95 % interval", "against baseline"),
        tuple(rows),
        strong=frozenset({1}),
        note="Lower is better. Observed values are compared with the observed baseline where there "
        "is one, predicted values with the predicted baseline.",
    )


def references(rec: Recommendation) -> dict[str, Estimate]:
    """Natural and uniform mixture, where they are known and not the baseline itself."""
    found = {"natural": rec.natural, "uniform": rec.uniform}
    return {k: e for k, e in found.items() if e is not None and e != rec.baseline}


def _estimate(label: str, estimate: Estimate, baseline: float) -> tuple[str, ...]:
    gap = fmt.signed(estimate.mean - baseline) if "baseline" not in label else ""
    return (label, fmt.value(estimate.mean), fmt.interval(estimate.low, estimate.high), gap)


def confirmation_table(rec: Recommendation) -> Table | None:
    """Fresh runs on unseen text, with the paired difference from the baseline."""
    if not rec.confirmations:
        return None
    from mixopt.study.results.frames import confirmations_frame

    rows = []
    for row in confirmations_frame(rec.confirmations).to_dict("records"):
        gap = "" if row["label"] == "baseline" else fmt.signed(row["difference"])
        error = "" if row["label"] == "baseline" else fmt.value(row["difference_se"])
        figures = (fmt.value(row["mean"]), fmt.value(row["se"]), gap, error)
        rows.append((str(row["label"]), str(row["runs"]), *figures))
    return Table(
        "Confirmation runs",
        ("schedule", "runs", "mean", "s.e.", "against baseline", "s.e. of that"),
        tuple(rows),
        strong=frozenset(i for i, r in enumerate(rows) if r[0] == "recommendation"),
        note="Fresh seeds, measured on text the search never saw; differences are taken seed by "
        "seed. Believe a difference of more than twice its standard error.",
    )


def metric_table(rec: Recommendation, weights: Mapping[str, float]) -> Table:
    """Every metric under the recommendation and the baseline."""
    rows = []
    for name, found in rec.metrics.items():
        base = rec.baseline_metrics.get(name)
        gap = None if base is None else found.mean - base.mean
        rows.append(
            (
                name,
                fmt.share(weights.get(name, 0.0)),
                fmt.value(found.mean),
                fmt.interval(found.low, found.high),
                fmt.value(None if base is None else base.mean),
                fmt.signed(gap),
            )
        )
    columns = ("metric", "weight", "recommendation", "95 % interval", "baseline", "difference")
    return Table("Metrics", columns, tuple(rows), note="Predicted, in nats per token.")


def guardrail_table(rec: Recommendation) -> Table | None:
    """Whether each guardrail holds."""
    rows = tuple(
        (
            g.metric,
            fmt.value(g.limit),
            fmt.value(g.predicted.mean),
            f"{g.probability:.2f}",
            f"{g.confidence:.2f}",
            "yes" if g.holds else "no",
        )
        for g in rec.guardrails
    )
    columns = ("metric", "limit", "predicted", "probability", "asked for", "holds")
    note = "Probability that the metric stays below its limit at the recommendation."
    return Table("Guardrails", columns, rows, note=note) if rows else None


def cost_table(data: ReportData) -> Table:
    """Trials, tokens, FLOPs and time of the search and of the runs that check its answer."""
    kind = data.trials["kind"]
    checks = kind.isin(["confirmation", "comparison"])
    confirming = data.trials[kind == "confirmation"]
    parts = [("search", data.trials[~checks]), ("confirmation", confirming)]
    if (kind == "comparison").any():
        parts.append(("attribution and controls", data.trials[kind == "comparison"]))
    rows = tuple(
        (
            label,
            str(len(mine)),
            str(int((mine["state"] == "failed").sum())),
            fmt.count(float(mine["tokens"].sum())),
            fmt.flops(float(mine["flops"].sum())),
            fmt.duration(float(mine["seconds"].sum())),
        )
        for label, mine in parts
    )
    limits = ", ".join(f"{fmt.count(v)} {k}" for k, v in data.budget.items())
    note = f"Budget of the search: {limits}." if limits else "The search had no budget."
    columns = ("runs", "number", "failed", "tokens", "FLOPs", "trainer time")
    return Table("Cost", columns, rows, note=note)


def records_table(title: str, items: Sequence[Any], note: str = "") -> Table | None:
    """Rows of any kind (mappings, pydantic or dataclass values) under the union of their keys."""
    records = [_mapping(item) for item in items]
    keys = list(dict.fromkeys(k for record in records for k in record))
    if not keys:
        return None
    text = frozenset(
        i for i, k in enumerate(keys) if any(isinstance(r.get(k), (str, dict)) for r in records)
    )
    rows = tuple(tuple(_cell(record.get(k)) for k in keys) for record in records)
    return Table(title, tuple(k.replace("_", " ") for k in keys), rows, text=text, note=note)


def _mapping(item: Any) -> dict[str, Any]:
    if isinstance(item, Mapping):
        return dict(item)
    if hasattr(item, "model_dump"):
        return dict(item.model_dump())
    return dict(vars(item))


def _cell(x: Any) -> str:
    if isinstance(x, bool):
        return "yes" if x else "no"
    if isinstance(x, float):
        return f"{x:.4g}" if math.isfinite(x) else fmt.DASH
    if isinstance(x, Mapping):
        return ", ".join(f"{k} {_cell(v)}" for k, v in x.items())
    return fmt.DASH if x is None or x == "" else str(x)
