"""GPT-NeoX: a configuration per phase.

``AnnealingLR`` (megatron/learning_rates.py) counts iterations from the start of the run, falls by
``iterations after warm-up / lr-decay-iters`` and has no plateau. Training data by path and weight
needs validation and test data by path too.
"""

from __future__ import annotations

from typing import Any

from mixopt.export.export_plan import ExportPlan, PhasePlan
from mixopt.export.exporter import Exporter, Written
from mixopt.export.rate_plan import RatePlan
from mixopt.export.texts import json_text

HELD_OUT = ("PATH_OF_VALIDATION", "PATH_OF_TEST")


def write(plan: ExportPlan) -> Written:
    """A configuration per phase."""
    files, rates, commands = {}, [], []
    for phase in plan.phases:
        rates.append(_rate(phase.rate, plan) if phase.rate else {})
        name = f"gpt-neox_{phase.slug}.yml"
        files[name] = json_text(_config(plan, phase) | rates[-1])
        load = "" if phase.index == 0 else ", load set to the checkpoint of the phase before"
        commands.append(f"deepy.py train.py model.yml {name}{load}")
    return Written(files, tuple(rates), tuple(commands), ON_RESUME, _notes(plan))


ON_RESUME = (
    "the blend of a phase is built for the whole run so far and read from the iteration reached, "
    "so each source begins at the phase's start times its new weight",
)


def _config(plan: ExportPlan, phase: PhasePlan) -> dict[str, Any]:
    weights = phase.weights()
    return {
        "train-data-paths": [plan.paths[name] for name in weights],
        "train-data-weights": list(weights.values()),
        "valid-data-paths": [HELD_OUT[0]],
        "valid-data-weights": [1.0],
        "test-data-paths": [HELD_OUT[1]],
        "test-data-weights": [1.0],
        "weight_by_num_documents": False,
        "seq-length": plan.sequence_length,
        "train_batch_size": plan.batch,
        "train-iters": phase.end // plan.step,
        "seed": plan.seed,
    }


def _rate(rate: RatePlan, plan: ExportPlan) -> dict[str, Any]:
    falls = rate.whole and rate.begin == 0 and rate.rule.shape in ("linear", "cosine")
    rise = rate.rule.warmup if rate.warmup_known else rate.warmup()
    return {
        "optimizer": {"params": {"lr": rate.peak_text}},
        "min_lr": rate.times(rate.rule.final if falls else 0.0),
        "lr-decay-style": rate.rule.shape if falls else "constant",
        "lr-decay-iters": plan.steps,
        "warmup": 0.0 if rate.begin else rise,
        "override-lr-scheduler": rate.own and rate.begin > 0,
        "use-checkpoint-lr-scheduler": False,
    }


def _notes(plan: ExportPlan) -> tuple[str, ...]:
    notes = ["name held-out data: these formats need their validation and test paths"]
    rules = [p.rate for p in plan.phases if p.rate]
    if any(r.decays and (not r.whole or r.begin) for r in rules):
        notes.append(
            "GPT-NeoX has no plateau before a fall: the rate stays constant, so train the fall "
            "with another scheduler"
        )
    if any(r.whole and not r.begin for r in rules):
        notes.append(
            "GPT-NeoX stops falling short of the end, by the share of the warm-up, unless the "
            "least rate is reached before"
        )
    if any(r.own and r.begin and r.rule.warmup for r in rules):
        notes.append("the re-warming of a later phase is left out: its rate begins at the peak")
    return tuple(notes)


EXPORTER = Exporter(
    name="gpt-neox",
    aliases=("neox", "gpt_neox"),
    write=write,
    changes="relaunch",
    unit="sequences",
    loaded="nothing: it is not packaged; read in its source (0535bfb)",
)
