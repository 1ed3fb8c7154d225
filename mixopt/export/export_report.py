"""The report beside every export, one layout for all trainers, as JSON and as a page to read."""

from __future__ import annotations

from typing import Any

from mixopt.export.export_plan import ExportPlan, PhasePlan
from mixopt.export.exporter import Exporter, Written
from mixopt.export.rate_plan import PEAK, WARMUP, RatePlan


def phase_rows(plan: ExportPlan) -> list[dict[str, Any]]:
    """What each phase draws from each domain, in tokens and sequences."""
    return [_phase(plan, phase) for phase in plan.phases]


def export_report(plan: ExportPlan, exporter: Exporter, written: Written) -> dict[str, Any]:
    """What each phase draws and does, as plain data.

    Args:
        plan: What was written, aligned to the trainer.
        exporter: The trainer.
        written: What was written for it.

    Returns:
        Counts in tokens and sequences, epochs over the tokens available (null where unknown),
        start offsets (tokens drawn from the domain before the phase starts), weights asked for
        beside those realised, and by how many sequences a phase was moved.
    """
    phases = phase_rows(plan)
    for phase, rate in zip(phases, written.rates, strict=False):
        phase["learning_rate"] = dict(rate)
    return {
        "format": "mixopt-export-report",
        "version": 2,
        "trainer": exporter.name,
        "phases_change_by": exporter.changes,
        "unit_of_weight": exporter.unit,
        "loaded_with": exporter.loaded,
        "draws": "quotas" if exporter.exact else "at random, with these means",
        "tokens": plan.tokens,
        "tokens_requested": plan.requested,
        "tokenizer": plan.provenance.tokenizer,
        "tokenizer_fingerprint": plan.provenance.tokenizer_fingerprint,
        "sequence_length": plan.sequence_length,
        "batch": plan.batch,
        "seed": plan.seed,
        "phases": phases,
        "total": {name: _total(plan, name) for name in plan.domains},
        "commands": list(written.commands),
        "fill_in": _placeholders(plan, written),
        "on_resume": list(written.on_resume),
        "notes": [*written.notes, *_rounding(plan), *_given(plan.provenance.note)],
    }


def _given(note: str | None) -> list[str]:
    return [note] if note else []


def _placeholders(plan: ExportPlan, written: Written) -> list[str]:
    """What must be put in before the trainer starts."""
    text = "".join(written.files.values())
    stand_ins = [p for p in plan.paths.values() if p.startswith("PATH_OF_") and p in text]
    return [*stand_ins, *(word for word in (PEAK, WARMUP) if word in text)]


def _rounding(plan: ExportPlan) -> list[str]:
    if plan.tokens == plan.requested:
        return []
    unit = plan.sequence_length * plan.step
    return [
        f"{plan.requested:,} tokens were asked for; {plan.tokens:,} is the nearest whole number of "
        f"{unit:,}-token {'steps' if plan.batch else 'sequences'}"
    ]


def _total(plan: ExportPlan, name: str) -> dict[str, Any]:
    tokens = plan.drawn(name)
    have = plan.supply.get(name)
    return {"tokens": tokens, "available": have, "epochs": plan.epochs(name, tokens)}


def _phase(plan: ExportPlan, phase: PhasePlan) -> dict[str, Any]:
    length, shares = plan.sequence_length, phase.weights()
    rows: dict[str, dict[str, Any]] = {}
    for name, asked in phase.asked.items():
        count, before = phase.quota.get(name, 0), phase.offset.get(name, 0) * length
        tokens = count * length
        rows[name] = {
            "asked": asked,
            "weight": shares.get(name, 0.0),
            "tokens": tokens,
            "sequences": count,
            "start_offset": before,
            "epochs": plan.epochs(name, tokens),
            "epochs_at_end": plan.epochs(name, before + tokens),
        }
    asked_start = sum(p.fraction for p in plan.phases[: phase.index]) * plan.requested / length
    return {
        "name": phase.name,
        "fraction": phase.fraction,
        "tokens": phase.sequences * length,
        "sequences": phase.sequences,
        "steps": None if plan.batch is None else phase.sequences // plan.batch,
        "start": phase.start * length,
        "moved_sequences": round(phase.start - asked_start, 3),
        "largest_difference": max(abs(r["weight"] - r["asked"]) for r in rows.values()),
        "rule": _rule(phase.rate) if phase.rate else None,
        "domains": rows,
    }


def _rule(rate: RatePlan) -> dict[str, Any]:
    """A learning-rate rule in sequences of the run, whatever the trainer counts."""
    begin, end = rate.span()
    return {
        "from_sequence": begin,
        "to_sequence": end,
        "peak": rate.peak_text,
        "warmup_sequences": rate.warmup(),
        "warmup_from": rate.times(rate.rule.start),
        "decay_sequences": rate.decay(),
        "decay_shape": rate.rule.shape,
        "decay_to": rate.times(rate.rule.final),
    }


def report_page(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    lines = [
        f"# What the {report['trainer']} export trains on",
        "",
        f"{report['tokens']:,} tokens in sequences of {report['sequence_length']:,}; phases change "
        f"by {report['phases_change_by']}; a weight counts {report['unit_of_weight']}; drawn: "
        f"{report['draws']}. Loaded with: {report['loaded_with']}.",
    ]
    for section, title in (("fill_in", "Fill in first"), ("commands", "In order")):
        if report[section]:
            lines += ["", f"## {title}", ""]
            lines += [f"{i}. {text}" for i, text in enumerate(report[section], 1)]
    for phase in report["phases"]:
        lines += ["", *_phase_lines(phase)]
    for section, title in (("on_resume", "What it does on resume"), ("notes", "Mind")):
        if report[section]:
            lines += ["", f"## {title}", "", *[f"- {text}" for text in report[section]]]
    return "\n".join(lines) + "\n"


def _phase_lines(phase: dict[str, Any]) -> list[str]:
    moved = phase["moved_sequences"]
    return [
        f"## Phase {phase['name']}: {phase['tokens']:,} tokens from {phase['start']:,}",
        "",
        f"{phase['sequences']:,} sequences"
        + ("" if phase["steps"] is None else f", {phase['steps']:,} steps")
        + f"; start moved by {moved:+g} sequences; realised weights within "
        f"{phase['largest_difference']:.2g} of those asked for.",
        "",
        "| domain | asked | realised | tokens | epochs | from token |",
        "| --- | --- | --- | --- | --- | --- |",
        *[
            f"| {name} | {row['asked']:.6g} | {row['weight']:.6g} | {row['tokens']:,} | "
            f"{'?' if row['epochs'] is None else format(row['epochs'], '.3g')} | "
            f"{row['start_offset']:,} |"
            for name, row in phase["domains"].items()
        ],
        *_rate_lines("Learning rate by the schedule", phase["rule"]),
        *_rate_lines("Learning rate as the trainer reads it", phase.get("learning_rate")),
    ]


def _rate_lines(title: str, values: dict[str, Any] | None) -> list[str]:
    rows = [f"- `{key}`: `{value}`" for key, value in (values or {}).items()]
    return ["", f"{title}:", *rows] if rows else []
