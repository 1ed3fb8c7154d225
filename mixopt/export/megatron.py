"""Megatron-LM, Megatron Bridge, Pai-Megatron: one blend file per phase and how to launch them.

Built and counted with megatron-core 0.16.1; the flags are read in Megatron-LM's source, since its
argument parser is not in the wheel. ``--per-split-data-args-path`` takes a JSON object with the
keys ``train``, ``valid`` and ``test``; each is a flat list of weight, prefix, weight, prefix, with
the weights in sequences. A list of odd length would be read as unweighted prefixes, silently.
"""

from __future__ import annotations

import json

from mixopt.export.export_plan import ExportPlan, PhasePlan
from mixopt.export.tokens import token_report_text
from mixopt.space import LearningRate

_DECAY = {"linear": "linear", "cosine": "cosine", "sqrt": "minus_sqrt"}


def files(plan: ExportPlan) -> dict[str, str]:
    """File name to text: ``megatron_phaseN_NAME.json``, launch notes and the token report.

    Raises:
        ExportError: If a domain has no path or the sequence length is unknown.
    """
    paths = plan.need_paths("megatron")
    plan.need_sequences("megatron")
    out = {f"megatron_{p.slug}.json": _blend(p, paths) for p in plan.phases}
    out["megatron_launch.md"] = _launch(plan)
    out["megatron_tokens.json"] = token_report_text(plan, "megatron", _replays(plan))
    return out


def _blend(phase: PhasePlan, paths: dict[str, str]) -> str:
    train: list[str] = []
    for name, weight in phase.weights().items():
        train += [repr(weight), paths[name]]
    return json.dumps({"train": train, "valid": None, "test": None}, indent=2) + "\n"


def _replays(plan: ExportPlan) -> tuple[str, ...]:
    notes = []
    for phase in plan.phases[1:]:
        again = {n: c * plan.sequence_length for n, c in phase.offset.items() if c}
        if again:
            listed = ", ".join(f"{n} {c:,}" for n, c in again.items())
            notes.append(
                f"Megatron starts phase {phase.name!r} at the beginning of every prefix; to honour "
                f"the start offsets ({listed} tokens) keep the documents of the phases in separate "
                f"prefixes"
            )
    return tuple(notes)


def _launch(plan: ExportPlan) -> str:
    lines = [
        "# Launching this schedule in Megatron-LM",
        "",
        f"{plan.tokens:,} tokens as {plan.sequences:,} sequences of {plan.sequence_length:,}. "
        "Train by samples, not by iterations, and keep the global batch size fixed: Megatron saves "
        "and exits where a phase ends; start it again with the next blend.",
        "",
        "Flags of every phase:",
        "",
        "```",
        f"--seq-length {plan.sequence_length}",
        f"--train-samples {plan.sequences}",
        f"--global-batch-size {plan.batch or '$GLOBAL_BATCH'}",
        *_transitions(plan),
        *_rate_flags(plan.schedule.learning_rate, plan.sequences),
        "```",
    ]
    for phase in plan.phases:
        lines += ["", f"## Phase {phase.index + 1}: {phase.name}", "", "```"]
        lines += [f"--per-split-data-args-path megatron_{phase.slug}.json", "```"]
        lines += _own_rate(phase)
    notes = [*_replays(plan), *_rate_notes(plan)]
    if notes:
        lines += ["", "## Mind", "", *[f"- {note}." for note in notes]]
    return "\n".join(lines) + "\n"


def _transitions(plan: ExportPlan) -> list[str]:
    ends = [p.start for p in plan.phases[1:]]
    if not ends:
        return []
    if plan.batch is None:
        listed = " ".join(f"$(({end} / GLOBAL_BATCH))" for end in ends)
    else:
        listed = " ".join(str(end // plan.batch) for end in ends)
    return [f"--phase-transition-iterations {listed}"]


def _rate_flags(rule: LearningRate | None, sequences: int) -> list[str]:
    if rule is None:
        return []
    peak = f"{rule.peak:g}" if rule.peak is not None else "$PEAK"
    floor = f"{rule.peak * rule.final:g}" if rule.peak is not None else "$FLOOR"
    flags = [f"--lr {peak}", f"--min-lr {floor}", f"--lr-decay-samples {sequences}"]
    if rule.warmup:
        flags.append(f"--lr-warmup-samples {round(rule.warmup * sequences)}")
    if rule.decay == 0:
        return [*flags, "--lr-decay-style constant"]
    if rule.shape in ("linear", "cosine") and rule.warmup + rule.decay >= 1 - 1e-9:
        return [*flags, f"--lr-decay-style {rule.shape}"]
    falling = round(rule.decay * sequences)
    flags += ["--lr-decay-style WSD", f"--lr-wsd-decay-samples {falling}"]
    return [*flags, f"--lr-wsd-decay-style {_DECAY.get(rule.shape, 'minus_sqrt')}"]


def _own_rate(phase: PhasePlan) -> list[str]:
    if phase.learning_rate is None:
        return []
    flags = [*_rate_flags(phase.learning_rate, phase.sequences), "--override-opt-param-scheduler"]
    return ["", "This phase has a rule of its own:", "", "```", *flags, "```"]


def _rate_notes(plan: ExportPlan) -> list[str]:
    rules = [plan.schedule.learning_rate, *(p.learning_rate for p in plan.phases)]
    notes = []
    if any(r is not None and r.shape == "inverse_sqrt" and r.decay > 0 for r in rules):
        notes.append(
            "Megatron has no inverse square root to end a WSD schedule with; minus_sqrt stands in"
        )
    if any(p.learning_rate is not None for p in plan.phases):
        notes.append(
            "a phase's own rule counts samples from the phase's start, while Megatron counts from "
            "the start of the run: load its checkpoint without the scheduler state"
        )
    return notes
