"""Megatron-LM, Megatron Bridge, Pai-Megatron: a blend and the flags of each phase.

``--per-split-data-args-path`` takes a JSON object with the keys ``train``, ``valid`` and ``test``;
each is a flat list of weight, prefix, weight, prefix, with the weights in sequences. A list of odd
length would be read as unweighted prefixes, silently.

Rates count samples from the start of the run (``OptimizerParamScheduler.num_steps`` is loaded with
the checkpoint), so a phase's own rule is written in those: it ends at ``--lr-decay-samples``, and
its warm-up is the last part of a straight line from the run's start, whose value there,
``--lr-warmup-init``, may be negative.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from mixopt.errors import ExportError
from mixopt.export.export_plan import ExportPlan, PhasePlan
from mixopt.export.exporter import Exporter, ImportedPhase, Written
from mixopt.export.importing import weighted
from mixopt.export.rate_plan import RatePlan
from mixopt.export.texts import json_text

_DECAY = {"linear": "linear", "cosine": "cosine", "sqrt": "minus_sqrt"}

ON_RESUME = (
    "a phase starts again at the beginning of every prefix: get_train_valid_test_num_samples "
    "counts samples from the last transition",
    "another blend under the same flags is accepted without a word",
    "changed rates assert on load without --override-opt-param-scheduler",
)


def write(plan: ExportPlan) -> Written:
    """Blend and flags per phase."""
    files, rates, commands = {}, [], []
    changed = False
    for phase in plan.phases:
        changed = changed or (phase.index > 0 and phase.rate != plan.phases[0].rate)
        flags = _rate_flags(phase.rate, plan.sequences) if phase.rate else {}
        rates.append(flags | ({"--override-opt-param-scheduler": ""} if changed else {}))
        blend = f"megatron_{phase.slug}.json"
        files[blend] = _blend(phase, plan)
        files[f"megatron_{phase.slug}.sh"] = _flags(plan, phase, blend, rates[-1])
        commands.append(
            f"source megatron_{phase.slug}.sh, then start pretrain_gpt.py with "
            '"${MIXOPT_FLAGS[@]}" and flags of your own; it saves and exits '
            + (
                "at the end"
                if phase is plan.phases[-1]
                else f"at iteration {phase.end // plan.step}"
            )
        )
    return Written(files, tuple(rates), tuple(commands), ON_RESUME, _notes(plan))


def _blend(phase: PhasePlan, plan: ExportPlan) -> str:
    train: list[str] = []
    for name, weight in phase.weights().items():
        train += [repr(weight), plan.paths[name]]
    return json_text({"train": train, "valid": None, "test": None})


def _flags(plan: ExportPlan, phase: PhasePlan, blend: str, rate: dict[str, Any]) -> str:
    flags: dict[str, Any] = {
        "--seq-length": plan.sequence_length,
        "--train-samples": plan.sequences,
        "--global-batch-size": plan.batch,
        "--seed": plan.seed + 1,
    }
    ends = [str(p.start // plan.step) for p in plan.phases[1:]]
    if ends:
        flags["--phase-transition-iterations"] = ",".join(ends)
    lines = [
        f"# Phase {phase.name}: source this file and pass on the flags.",
        "MIXOPT_FLAGS=(",
        f'  --per-split-data-args-path "$(dirname "${{BASH_SOURCE[0]}}")/{blend}"',
        *[f"  {_flag(key, value)}" for key, value in (flags | rate).items()],
        ")",
    ]
    return "\n".join(lines) + "\n"


def _flag(key: str, value: Any) -> str:
    if value == "":
        return key
    text = shlex.quote(str(value))
    # A negative number after a space would be taken for a flag by a shell's eye and argparse's.
    return f"{key}={text}" if text.startswith("-") else f"{key} {text}"


def _rate_flags(rate: RatePlan, sequences: int) -> dict[str, Any]:
    rule, (begin, end) = rate.rule, rate.span()
    rise = rate.warmup()
    flags: dict[str, Any] = {"--lr": rate.peak_text, "--min-lr": rate.times(rule.final)}
    if rise:
        flags["--lr-warmup-samples"] = rise if isinstance(rise, str) else begin + rise
        start = rule.start
        if not isinstance(rise, str):
            start = (rule.start * (begin + rise) - begin) / rise
        flags["--lr-warmup-init"] = rate.times(start)
    # The decay must end after the warm-up, even where there is none.
    flags["--lr-decay-samples"] = end if rate.decays else sequences + 1
    if not rate.decays:
        return flags | {"--lr-decay-style": "constant"}
    if rate.whole and begin == 0 and rule.shape in ("linear", "cosine"):
        return flags | {"--lr-decay-style": rule.shape}
    return flags | {
        "--lr-decay-style": "WSD",
        "--lr-wsd-decay-samples": rate.decay(),
        "--lr-wsd-decay-style": _DECAY.get(rule.shape, "minus_sqrt"),
    }


def _notes(plan: ExportPlan) -> tuple[str, ...]:
    notes = [
        "train by samples and keep the global batch size fixed: phase transitions need both",
        "Megatron Bridge: get_blend_and_blend_per_split(per_split_data_args_path=...) reads the "
        "same blends, and SchedulerConfig takes the rates under the flags' names; it has no "
        "phase transition, so end each run by train_samples",
        "Pai-Megatron-Patch passes these flags to the same parser",
    ]
    if any(p.rate and p.rate.decays and p.rate.rule.shape == "inverse_sqrt" for p in plan.phases):
        notes.append(
            "Megatron has no inverse square root to end a WSD schedule with; minus_sqrt stands in"
        )
    replayed = sorted({n for p in plan.phases[1:] for n, before in p.offset.items() if before})
    if replayed:
        notes.append(
            f"to honour the start offsets of {', '.join(replayed)}, keep the documents of each "
            "phase in prefixes of their own"
        )
    return tuple(notes)


def read(path: Path) -> tuple[ImportedPhase, ...]:
    """A blend file: per-split JSON, or a flat list of weights and prefixes as text.

    Raises:
        ExportError: If the list has no weights or an odd length.
    """
    text = path.read_text(encoding="utf-8")
    flat = json.loads(text)["train"] if text.lstrip().startswith("{") else text.split()
    if not flat or len(flat) % 2:
        raise ExportError(
            f"{path} must list weight and prefix in turn; it lists {len(flat or [])} values",
            "Megatron itself reads a list of odd length as prefixes without weights",
        )
    paths = {Path(prefix).name: prefix for prefix in flat[1::2]}
    weights = dict(zip(paths, map(float, flat[::2]), strict=True))
    return (weighted(weights, path, None, paths),)


EXPORTER = Exporter(
    name="megatron",
    aliases=("megatron-lm", "megatron-core", "megatron-bridge", "pai-megatron"),
    write=write,
    changes="relaunch",
    unit="sequences",
    loaded="megatron-core 0.16.1 (blends, rates); the flags are read in Megatron-LM's parser",
    read=read,
)
