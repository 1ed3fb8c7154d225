"""The report beside every configuration: tokens, epochs and offsets per phase and domain."""

from __future__ import annotations

import json
from typing import Any

from mixopt.export.export_plan import ExportPlan, PhasePlan


def token_report(plan: ExportPlan, trainer: str, notes: tuple[str, ...] = ()) -> dict[str, Any]:
    """What each phase draws from each domain, as plain data.

    Args:
        plan: What is exported.
        trainer: The exporter's name.
        notes: What the trainer does differently.

    Returns:
        Tokens (all counts in tokens), epochs over the tokens available (null where unknown) and
        start offsets: tokens drawn from the domain before the phase starts.
    """
    report: dict[str, Any] = {
        "format": "mixopt-tokens",
        "version": 1,
        "trainer": trainer,
        "tokens": plan.tokens,
        "tokens_requested": plan.requested,
        "sequence_length": plan.sequence_length,
        "batch": plan.batch,
        "phases": [_phase(plan, phase) for phase in plan.phases],
        "total": {name: _domain(plan, name, plan.drawn(name)) for name in plan.domains},
        "notes": [*notes, *([plan.provenance.note] if plan.provenance.note else [])],
    }
    if plan.tokens != plan.requested:
        unit = plan.sequence_length * (plan.batch or 1)
        report["notes"].append(
            f"{plan.requested:,} tokens were asked for; {plan.tokens:,} is the nearest whole "
            f"number of {unit:,}-token {'steps' if plan.batch else 'sequences'}"
        )
    return report


def token_report_text(plan: ExportPlan, trainer: str, notes: tuple[str, ...] = ()) -> str:
    """The report as JSON text."""
    return json.dumps(token_report(plan, trainer, notes), indent=2, ensure_ascii=False) + "\n"


def _domain(plan: ExportPlan, name: str, tokens: int) -> dict[str, Any]:
    return {
        "tokens": tokens,
        "available": plan.supply.get(name),
        "epochs": plan.epochs(name, tokens),
    }


def _phase(plan: ExportPlan, phase: PhasePlan) -> dict[str, Any]:
    length = plan.sequence_length
    shares = phase.weights()
    domains = {}
    for name, count in phase.quota.items():
        before = phase.offset[name] * length
        tokens = count * length
        domains[name] = {
            "weight": shares[name],
            "tokens": tokens,
            "sequences": count,
            "start_offset": before,
            "epochs": plan.epochs(name, tokens),
            "epochs_at_end": plan.epochs(name, before + tokens),
        }
    return {
        "name": phase.name,
        "fraction": phase.fraction,
        "tokens": phase.sequences * length,
        "sequences": phase.sequences,
        "start": phase.start * length,
        "domains": domains,
    }
