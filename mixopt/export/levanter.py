"""Levanter: phases in one run as stages of ``train_weights``.

Stage numbers are steps. Within a block of ``mixture_block_size`` sequences each source gets
``int(weight * block)``, the remainder goes to the largest, and a stage must begin with a block; so
the block is chosen to divide every phase's start, and a source under one sequence per block is
refused, since Levanter would never draw from it. Written to its documented format, not run here.
"""

from __future__ import annotations

import math
from typing import Any

from mixopt.errors import ExportError
from mixopt.export.export_plan import ExportPlan
from mixopt.export.texts import yaml_text
from mixopt.export.tokens import token_report_text
from mixopt.space import LearningRate

LARGEST_BLOCK = 2048
_SHAPES = {"linear": "linear", "cosine": "cosine", "inverse_sqrt": "inv_sqrt"}


def files(plan: ExportPlan) -> dict[str, str]:
    """File name to text: ``levanter_data.yaml`` and the token report.

    Raises:
        ExportError: If paths, sequence length or batch are unknown, or a source's weight is too
            small for any block that fits the phases.
    """
    paths = plan.need_paths("levanter")
    length = plan.need_sequences("levanter")
    batch = plan.need_batch("levanter")
    block = _block(plan)
    config: dict[str, Any] = {
        "data": {
            "mixture_block_size": block,
            "components": {
                name: {"source": {"type": "url", "train_urls": [path]}}
                for name, path in paths.items()
            },
            "train_weights": [
                [p.start // batch, {n: p.weights().get(n, 0.0) for n in plan.domains}]
                for p in plan.phases
            ],
        },
        "train_seq_len": length,
        "trainer": {"num_train_steps": plan.sequences // batch, "train_batch_size": batch},
    }
    rule = plan.schedule.learning_rate
    if rule is not None:
        config["optimizer"] = _optimizer(rule)
    return {
        "levanter_data.yaml": yaml_text(config, "Merge into the training configuration."),
        "levanter_tokens.json": token_report_text(plan, "levanter", _notes(plan, block)),
    }


def _block(plan: ExportPlan) -> int:
    block = math.gcd(LARGEST_BLOCK, *(p.start for p in plan.phases[1:]))
    for phase in plan.phases:
        for name, weight in phase.weights().items():
            if int(weight * block) < 1:
                raise ExportError(
                    f"Levanter draws whole sequences per block of {block}, so {name!r} with weight "
                    f"{weight:.3g} in phase {phase.name!r} would never be drawn",
                    "drop the domain, raise its weight, or let phases start at a multiple of "
                    f"{LARGEST_BLOCK} sequences",
                )
    return block


def _optimizer(rule: LearningRate) -> dict[str, Any]:
    out: dict[str, Any] = {} if rule.peak is None else {"learning_rate": rule.peak}
    shape = _SHAPES.get(rule.shape, "linear") if rule.decay else "constant"
    out |= {"warmup": rule.warmup, "lr_schedule": shape, "min_lr_ratio": rule.final}
    return {**out, "decay": rule.decay} if rule.decay else out


def _notes(plan: ExportPlan, block: int) -> tuple[str, ...]:
    notes = [f"Levanter rounds each source's share down to whole sequences per block of {block}"]
    rules = [plan.schedule.learning_rate, *(p.learning_rate for p in plan.phases)]
    if any(r is not None and r.decay and r.shape == "sqrt" for r in rules):
        notes.append("Levanter has no 1 - sqrt decay; linear stands in")
    if any(p.learning_rate is not None for p in plan.phases):
        notes.append("a phase's own learning-rate rule is left out: set cycles and rewarmup")
    return tuple(notes)
