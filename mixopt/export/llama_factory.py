"""LLaMA-Factory: a run per phase over interleaved datasets.

``interleave_probs`` is a string with commas, one probability per name in ``dataset`` (its own
``dataset_info.json`` is written beside). Rows are drawn before they are tokenised and packed.
``interleave_under`` would end with the smallest source, so sources are drawn again
(``interleave_over``) and ``max_steps`` ends the phase.
"""

from __future__ import annotations

from typing import Any

from mixopt.export.export_plan import ExportPlan, PhasePlan
from mixopt.export.exporter import Exporter, Written
from mixopt.export.rate_plan import WARMUP, RatePlan, rate_stages
from mixopt.export.texts import json_text, yaml_text

_DECAY = {"linear": "linear", "cosine": "cosine", "sqrt": "1-sqrt"}


def write(plan: ExportPlan) -> Written:
    """A configuration per phase and the list of datasets."""
    names = {name: name.replace("/", "_") for name in plan.domains}
    info = {
        names[name]: {"file_name": plan.paths[name], "columns": {"prompt": "text"}}
        for name in plan.domains
    }
    files = {"dataset_info.json": json_text(info)}
    rates, commands = [], []
    for phase in plan.phases:
        rates.append(_rate(phase.rate, phase, plan.step) if phase.rate else {})
        name = f"llama-factory_{phase.slug}.yaml"
        files[name] = yaml_text(
            _config(plan, phase, names) | rates[-1],
            f"Merge into the configuration; global batch of {plan.batch} sequences.",
        )
        source = "" if phase.index == 0 else ", model_name_or_path set to the phase before"
        commands.append(f"llamafactory-cli train {name}{source}")
    return Written(files, tuple(rates), tuple(commands), ON_RESUME, NOTES)


ON_RESUME = (
    "each phase is a run of its own: the optimizer starts afresh and every source begins anew",
)
NOTES = (
    "probabilities are per row, and rows are packed only afterwards: give every source rows of "
    "about the same number of tokens",
    "start_offsets are not honoured: keep the rows of the phases apart",
    "the warm-up begins at the least rate of the phase",
)


def _config(plan: ExportPlan, phase: PhasePlan, names: dict[str, str]) -> dict[str, Any]:
    weights = phase.weights()
    config: dict[str, Any] = {
        "stage": "pt",
        "dataset_dir": ".",
        "dataset": ",".join(names[name] for name in weights),
    }
    if len(weights) > 1:
        config |= {
            "mix_strategy": "interleave_over",
            "interleave_probs": ",".join(map(repr, weights.values())),
        }
    return config | {
        "streaming": True,
        "cutoff_len": plan.sequence_length,
        "packing": True,
        "max_steps": phase.sequences // plan.step,
        "seed": plan.seed + phase.index,
    }


def _rate(rate: RatePlan, phase: PhasePlan, batch: int) -> dict[str, Any]:
    """The part of a rule inside the phase as a warm-up, a plateau and a fall."""
    stages = rate_stages(rate, phase.start, phase.end, batch)
    peak = max(max(s.first, s.last) for s in stages)
    rising = sum(s.units for s in stages if s.last > s.first)
    falling = sum(s.units for s in stages if s.last < s.first)
    out: dict[str, Any] = {
        "learning_rate": rate.times(peak),
        "warmup_steps": rising if rate.warmup_known or not rising else WARMUP,
    }
    if not falling:
        return out | {"lr_scheduler_type": "constant_with_warmup"}
    return out | {
        "lr_scheduler_type": "warmup_stable_decay",
        "lr_scheduler_kwargs": {
            "num_decay_steps": falling,
            "num_stable_steps": sum(s.units for s in stages) - rising - falling,
            "decay_type": _DECAY.get(rate.rule.shape, "1-sqrt"),
            "min_lr_ratio": round(stages[-1].last / peak, 9),
        },
    }


EXPORTER = Exporter(
    name="llama-factory",
    aliases=("llamafactory", "llama_factory"),
    write=write,
    changes="relaunch",
    unit="rows before packing",
    loaded="llamafactory 0.9.5 (datasets)",
    exact=False,
)
