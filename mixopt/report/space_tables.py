"""What a check of a search space says, with units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mixopt.report import numbers as fmt
from mixopt.report.components import Table
from mixopt.space import SearchSpace


def space_lines(space: SearchSpace, found: Mapping[str, Any]) -> Iterator[str]:
    """The facts of a space, one per line.

    Args:
        space: What was checked.
        found: Its geometry's summary.
    """
    yield f"name: {space.name}"
    yield f"domains: {len(space.domains)}"
    yield f"phases: {', '.join(found['phases'])}"
    yield f"target: {fmt.fidelity(space.target) if space.target else 'none given'}"
    if len(found["phases"]) > 1:
        yield f"lengths of the phases, % of the tokens: {_lengths(found['fractions'])}"
    if found["fractions without room"]:
        yield f"lengths that the limits leave no room: {_lengths(found['fractions without room'])}"
    if "weights ties leave free" in found:
        yield f"weights ties leave free: {found['weights ties leave free']}"
    broken = found["limits the baseline breaks"]
    yield f"the baseline: {'breaks ' + ', '.join(broken) if broken else 'inside the space'}"


def _lengths(fractions: Sequence[Sequence[float]]) -> str:
    return ", ".join(" + ".join(f"{100 * f:.3g}" for f in choice) for choice in fractions)


def space_table(space: SearchSpace, found: Mapping[str, Any]) -> Table:
    """Tokens, baseline and the most that caps on epochs allow, per domain and node of the tree."""
    weights = space.baseline_schedule.exposure()
    plain: list[dict[str, Any]] = [
        {"node": n, "depth": 0, "weight": weights.get(n, 0.0), "tied": ""} for n in weights
    ]
    limits, tree = found["greatest exposure by epoch caps"], found.get("tree")
    shown: list[dict[str, Any]] = tree or plain
    rows = []
    for row in shown:
        inside = space.leaves(row["node"])
        supply = [space.supply[name] for name in inside]
        tokens = fmt.count(sum(n for n in supply if n is not None)) if None not in supply else ""
        label = row["node"].rpartition("/")[2] if tree else row["node"]
        most = min(sum(limits.get(name, 1.0) for name in inside), 1.0)
        cells = ["  " * row["depth"] + label, tokens or fmt.DASH, fmt.share(row["weight"])]
        rows.append((*cells, fmt.share(most), *([_tied(row["tied"])] if tree else [])))
    columns = ("domain", "tokens", "baseline", "most by epoch caps", *(["tied"] if tree else []))
    note = "Shares of the training tokens over the whole run."
    return Table("Domains", columns, tuple(rows), text=frozenset({4}), note=note)


def _tied(tie: str | Mapping[str, float]) -> str:
    return tie if isinstance(tie, str) else ", ".join(f"{n} {v:.4g}" for n, v in tie.items())
