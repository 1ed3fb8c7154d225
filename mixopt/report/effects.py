"""Tables of what is asked about schedules: attribution, controls, rates, critical share, phases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mixopt.report import numbers as fmt
from mixopt.report.components import Table

if TYPE_CHECKING:
    from mixopt.analysis.attribution import Attribution
    from mixopt.analysis.controls import Controls
    from mixopt.analysis.critical_share import Critical
    from mixopt.analysis.dynamic_schedules import DynamicSchedules
    from mixopt.analysis.rates import Rates
    from mixopt.space.effect import Effect


def attribution_table(found: Attribution) -> Table:
    """Effect of a domain per metric, objective first."""
    rows = tuple(_row(name, effect) for name, effect in found.effects.items())
    static = len(found.schedule.phases) == 1
    where = "the whole run" if static else f"phase {found.phase!r}"
    seeds = next(iter(found.effects.values())).seeds
    note = (
        f"With {found.domain} ({fmt.share(found.weight)} of {where}) minus without it, the other "
        f"weights renormalised; {seeds} common seeds, held-out text the search never saw. Negative "
        "is better of what is minimised, positive of what is maximised."
    )
    columns = ("metric", "effect", "95 % interval", "clear of 0")
    return Table(f"Effect of {found.domain}", columns, rows, text=frozenset({3}), note=note)


def controls_table(found: Controls) -> Table:
    """Total, exposure and order per metric, objective first."""
    rows = tuple(
        (name, *_pair(found.total, name), *_pair(found.exposure, name), *_pair(found.order, name))
        for name in found.total
        if name in found.exposure and name in found.order
    )
    columns = ("metric", "total", "±", "exposure", "±", "order", "±")
    share = found.order_share
    order = (
        "The total is not clear of 0, so there is nothing to divide."
        if share is None
        else f"Order is {100 * share:.0f} % of the objective's total."
    )
    note = (
        "Total: the schedule minus its base mixture to the end. Exposure: one mixture of the same "
        "tokens per domain minus that base. Order: the schedule minus that one mixture. ± is half "
        f"of the 95 % interval of paired differences over common seeds. {order}"
    )
    return Table("Order and exposure", columns, rows, note=note)


def rates_table(found: Rates) -> Table:
    """Effect of every level on the objective, best first."""
    rows = tuple(
        (
            *_row(c.label, c.effects["objective"]),
            "; ".join(f"{a.message} ({a.source})" for a in c.advice if a.level == "warning"),
        )
        for c in found.choices
    )
    note = "Objective against the schedule as it is, over common seeds, best first. " + (
        "The best level is clearly better." if found.changed else "No level is clearly better."
    )
    columns = ("last phase", "effect", "95 % interval", "clear of 0", "against the advice")
    strong = frozenset({0}) if found.changed else frozenset()
    return Table("Learning rate", columns, rows, frozenset({3, 4}), strong, note)


def critical_table(found: Critical) -> Table:
    """The runs behind a critical share, and the share."""
    rows = tuple(
        (f"{share:.3f}", fmt.signed(rise), fmt.signed(fitted))
        for share, rise, fitted in sorted(zip(found.shares, found.rises, found.fitted, strict=True))
    )
    title = (
        f"Critical share {100 * found.critical_share:.1f} %: as much old data keeps the old loss "
        f"({100 * found.level:.3g} % interval {100 * found.low:.1f} to {100 * found.high:.1f} %)"
    )
    note = (
        "Measured and law: old loss at the end minus the base's, nats/token. Noise of one run "
        f"{found.noise_sd:.4f}."
    )
    return Table(title, ("old-data share", "measured", "law"), rows, note=note)


def phases_table(found: DynamicSchedules) -> Table:
    """Objective and gain per number of phases, the last that pays stressed."""
    rows = tuple(
        (
            str(c.phases),
            fmt.value(c.predicted),
            *(("", "") if c.phases == 1 else fmt.change(c.gain)),
            "yes" if c.pays else "no",
            " ".join(f"{100 * p.fraction:.0f}" for p in c.schedule.phases),
        )
        for c in found.counts
    )
    strong = frozenset(i for i, c in enumerate(found.counts) if c.phases == found.enough)
    note = (
        "Weights and boundaries optimised together under the law of phases; each number starts "
        "from the split of the one before that pays most. Gain: against the last number that pays, "
        "cross-validated by laws fitted without some of the trials, nats/token; it counts from "
        f"{found.worth:.4f}, the noise of one trial. More than {found.enough} do not pay."
    )
    columns = ("phases", "objective", "gain", "95 % interval", "pays", "lengths, %")
    return Table("Dynamic schedules", columns, rows, frozenset({4, 5}), strong, note)


def _row(name: str, effect: Effect) -> tuple[str, ...]:
    return name, *fmt.change(effect), "yes" if effect.clear else "no"


def _pair(effects: Mapping[str, Effect], name: str) -> tuple[str, str]:
    effect = effects[name]
    return fmt.signed(effect.mean), fmt.value(effect.high - effect.mean)
