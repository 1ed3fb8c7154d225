"""nanotron: cumulative ``data_stages``, one configuration per phase.

Its head trains only the last stage listed, so phase k is launched with the first k stages. Stages
count steps from 1. Rates count steps from the start of the run and a warm-up always begins there:
``lr_scheduler_builder`` (helpers.py) falls from ``lr_decay_starting_step`` over ``lr_decay_steps``,
by default the whole phase.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mixopt.export.export_plan import ExportPlan, PhasePlan
from mixopt.export.exporter import Exporter, ImportedPhase, Written
from mixopt.export.importing import lengths, read_yaml, weighted
from mixopt.export.rate_plan import RatePlan, one_warmup_notes
from mixopt.export.texts import yaml_text

_DECAY = {"linear": "linear", "cosine": "cosine", "sqrt": "1-sqrt"}


def write(plan: ExportPlan) -> Written:
    """A configuration per phase."""
    stages = [_stage(plan, phase) for phase in plan.phases]
    files, rates, commands = {}, [], []
    for phase in plan.phases:
        rate = _rate(phase.rate, plan.step, phase.start) if phase.rate else {}
        config: dict[str, Any] = {
            "data_stages": stages[: phase.index + 1],
            "tokens": {
                "sequence_length": plan.sequence_length,
                "train_steps": phase.end // plan.step,
            },
        }
        if rate:
            config["optimizer"] = {"learning_rate_scheduler": rate}
        name = f"nanotron_{phase.slug}.yaml"
        note = f"Merge into the configuration; global batch of {plan.batch} sequences."
        files[name] = yaml_text(config, note)
        rates.append(rate)
        resume = "" if phase.index == 0 else ", resume_checkpoint_path set to the last checkpoint"
        commands.append(f"run_train.py --config-file {name}{resume}")
    return Written(files, tuple(rates), tuple(commands), ON_RESUME, _notes(plan))


ON_RESUME = (
    "only the last stage listed is trained, so the configurations are cumulative",
    "load_lr_scheduler: true keeps the rates of the checkpoint: set it to false where a phase has "
    "a rule of its own",
)


def _stage(plan: ExportPlan, phase: PhasePlan) -> dict[str, Any]:
    weights = phase.weights()
    return {
        "name": phase.slug,
        "start_training_step": phase.start // plan.step + 1,
        "data": {
            "seed": plan.seed + phase.index,
            "num_loading_workers": 1,
            "dataset": {
                "dataset_folder": [plan.paths[name] for name in weights],
                "dataset_weights": list(weights.values()),
            },
        },
    }


def _rate(rate: RatePlan, batch: int, start: int) -> dict[str, Any]:
    rule, (begin, end) = rate.rule, rate.span(batch)
    rise = rate.warmup(batch) if start == 0 or begin == 0 else 0
    fall = rate.decay(batch)
    return {
        "learning_rate": rate.peak_text,
        "lr_warmup_steps": rise,
        "lr_warmup_style": "linear",
        "lr_decay_style": _DECAY.get(rule.shape, "1-sqrt"),
        "lr_decay_starting_step": end - fall,
        # A fall of no steps would still drop to the least rate after its start.
        "lr_decay_steps": max(fall, 1),
        "min_decay_lr": rate.times(rule.final if fall else 1.0),
    }


def _notes(plan: ExportPlan) -> tuple[str, ...]:
    rates = [p.rate for p in plan.phases]
    notes = one_warmup_notes("nanotron", rates)
    if any(r and r.decays and r.rule.shape == "inverse_sqrt" for r in rates):
        notes.append("nanotron has no inverse square root decay; 1-sqrt stands in")
    return tuple(notes)


def read(path: Path) -> tuple[ImportedPhase, ...]:
    """The stages of a configuration."""
    config = read_yaml(path)
    stages = config["data_stages"]
    end = (config.get("tokens") or {}).get("train_steps")
    spans = lengths([stage["start_training_step"] - 1 for stage in stages], end)
    out = []
    for stage, span in zip(stages, spans, strict=True):
        data = stage["data"]["dataset"]
        folders = data["dataset_folder"]
        weights = data.get("dataset_weights") or [1.0] * len(folders)
        paths = {Path(folder).name: folder for folder in folders}
        out.append(weighted(dict(zip(paths, weights, strict=True)), path, span, paths))
    return tuple(out)


EXPORTER = Exporter(
    name="nanotron",
    write=write,
    changes="relaunch",
    unit="sequences",
    loaded="nothing: the released package cannot be imported; read in its source (06e3956)",
    read=read,
)
