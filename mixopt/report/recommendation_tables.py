"""Tables of a recommendation: schedule, confirmation runs, metrics, guardrails."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mixopt.report import numbers as fmt
from mixopt.report.components import Table
from mixopt.space import Schedule, SearchSpace, geometry_of
from mixopt.space.domain_tree import outline
from mixopt.study.results.estimates import (
    BASELINE,
    RECOMMENDATION,
    Answer,
    EstimateRow,
    ObjectiveEstimate,
)

if TYPE_CHECKING:
    from mixopt.propose import Recommendation


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
            row += [fmt.times(rec.epochs.get(name)), "none" if cap is None else f"{cap:g}"]
        else:
            strong.add(len(rows))
            low, high = _summed(schedule.base, inside), _summed(schedule.ending, inside)
            row[0] += f" ({len(inside)} domain{'s' * (len(inside) > 1)})"
            row += [fmt.ratio(high / low if low > 0 else math.inf if high > 0 else 1.0)] * two
            row += ["", ""]
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


def confirmation_table(answer: Answer) -> Table | None:
    """Fresh runs: the claim on unseen text, and the same runs on the search's held-out text."""
    if not answer.confirmed:
        return None
    fresh = {row.label: row.objective for row in answer.fresh}
    rows = tuple(
        (row.label, str(row.objective.runs), *_claim(row))
        + (_loss(fresh.get(row.label)) if fresh else ())
        for row in answer.confirmed
    )
    columns: tuple[str, ...] = ("schedule", "seeds", "against baseline", "95 % interval")
    columns += ("unseen text",)
    columns += ("search text", "95 % interval") if fresh else ()
    return Table(
        "Confirmation runs",
        columns,
        rows,
        strong=frozenset(i for i, r in enumerate(answer.confirmed) if r.label == RECOMMENDATION),
        note="Fresh seeds. Differences are taken seed by seed on text the search never saw; "
        "intervals by Student's t."
        + " Losses on the search's held-out text may be held against predictions."
        * bool(fresh),
    )


def _claim(row: EstimateRow) -> tuple[str, str, str]:
    gap, loss = row.difference, fmt.value(row.objective.value)
    if gap is None or row.label == BASELINE:
        return "", "", loss
    return fmt.signed(gap.value), fmt.interval(gap.low, gap.high), loss


def _loss(estimate: ObjectiveEstimate | None) -> tuple[str, str]:
    if estimate is None:
        return fmt.DASH, ""
    return fmt.value(estimate.value), fmt.interval(estimate.low, estimate.high)


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
    return Table("Metrics", columns, tuple(rows), note="Predicted; losses in nats per token.")


def guardrail_table(rec: Recommendation) -> Table | None:
    """Whether each guardrail holds."""
    rows = tuple(
        (
            g.metric,
            f"{'at least' if g.at_least else 'at most'} {fmt.value(g.limit)}",
            fmt.value(g.predicted.mean),
            f"{g.probability:.2f}",
            f"{g.confidence:.2f}",
            "yes" if g.holds else "no",
        )
        for g in rec.guardrails
    )
    columns = ("metric", "limit", "predicted", "probability", "asked for", "holds")
    note = "Probability that the metric keeps its limit at the recommendation."
    return Table("Guardrails", columns, rows, note=note) if rows else None
