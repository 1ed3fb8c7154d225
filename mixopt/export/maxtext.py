"""MaxText with grain: a mixture file and settings per phase.

Changing the file on resume is the documented way to stage: grain keeps its place in each named
source. Grain refuses zero weights. Rates count steps from the start of the run
(``create_learning_rate_schedule``: cosine over the whole run with 10 % of warm-up by default), and
``num_epoch: 1`` would end a source that is read again.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mixopt.export.export_plan import ExportPlan
from mixopt.export.exporter import Exporter, ImportedPhase, Written
from mixopt.export.importing import read_yaml, weighted
from mixopt.export.rate_plan import RatePlan, one_warmup_notes
from mixopt.export.texts import json_text, yaml_text

_DECAY = {"linear": "linear", "cosine": "cosine"}


def write(plan: ExportPlan) -> Written:
    """A mixture and the settings of each phase."""
    files, rates, commands = {}, [], []
    for phase in plan.phases:
        rate = _rate(phase.rate, plan.step) if phase.rate else {}
        mixture = f"maxtext_{phase.slug}.json"
        weights = phase.weights()
        files[mixture] = json_text(
            {name: {"path": plan.paths[name], "weight": w} for name, w in weights.items()}
        )
        settings: dict[str, Any] = {
            "dataset_type": "grain",
            "grain_file_type": "arrayrecord",
            "grain_train_mixture_config_path": mixture,
            "max_target_length": plan.sequence_length,
            "num_epoch": max(_passes(plan, name) for name in plan.domains),
            "data_shuffle_seed": plan.seed,
            "steps": phase.end // plan.step,
        }
        files[f"maxtext_{phase.slug}.yml"] = yaml_text(
            settings | rate, f"Settings of phase {phase.name}; global batch of {plan.batch}."
        )
        rates.append(rate)
        commands.append(f"train with the settings of maxtext_{phase.slug}.yml under one run_name")
    return Written(files, tuple(rates), tuple(commands), ON_RESUME, _notes(plan))


ON_RESUME = (
    "grain keeps its place in each named source, so the start offsets hold; a file with other "
    "names starts those from the beginning",
    "steps is the whole run's so far, not the phase's",
)


def _passes(plan: ExportPlan, name: str) -> int:
    """Whole passes over a domain, at least the ones needed."""
    epochs = plan.epochs(name, plan.drawn(name))
    # Where the supply is not known, many: a source that ends early ends the run.
    return 1000 if epochs is None else math.ceil(epochs) + 1


def _rate(rate: RatePlan, batch: int) -> dict[str, Any]:
    rule, total = rate.rule, rate.end
    rise = rule.warmup if rate.warmup_known else rate.warmup()
    if rate.begin:
        rise = 0.0
    return {
        "learning_rate_schedule_steps": rate.span(batch)[1],
        "learning_rate": rate.peak_text,
        "lr_schedule_type": "cosine" if rate.whole and rule.shape == "cosine" else "wsd",
        "warmup_steps_fraction": rise,
        "wsd_decay_steps_fraction": round(rate.decay() / total, 9),
        "wsd_decay_style": _DECAY.get(rule.shape, "linear"),
        "learning_rate_final_fraction": rule.final if rate.decays else 1.0,
    }


def _notes(plan: ExportPlan) -> tuple[str, ...]:
    rates = [p.rate for p in plan.phases]
    notes = [
        "grain mixes records before they are tokenised and packed: make every record of all "
        "sources about as long, or weigh them by tokens per record",
        *one_warmup_notes("MaxText", rates),
    ]
    if any(r and r.decays and r.rule.shape not in _DECAY for r in rates):
        notes.append("MaxText falls linearly or as a cosine; linear stands in")
    return tuple(notes)


def read(path: Path) -> tuple[ImportedPhase, ...]:
    """A mixture file."""
    data = read_yaml(path)
    paths = {name: part["path"] for name, part in data.items()}
    return (weighted({n: part["weight"] for n, part in data.items()}, path, None, paths),)


EXPORTER = Exporter(
    name="maxtext",
    aliases=("grain",),
    write=write,
    changes="relaunch",
    unit="records",
    loaded="grain 0.2.18 (mixtures); the settings are read in MaxText's source",
    read=read,
)
