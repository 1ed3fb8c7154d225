"""llm-foundry with mosaicml-streaming: phases in one run by the ``curriculum_learning`` callback.

Durations are in tokens and must sum to ``max_duration``; proportions count stored MDS samples, so
the samples of every stream must have the same length. Written to their documented format, not run
here.
"""

from __future__ import annotations

from typing import Any

from mixopt.export.export_plan import ExportPlan, PhasePlan
from mixopt.export.texts import yaml_text
from mixopt.export.tokens import token_report_text

NOTES = (
    "proportions count stored samples: write every stream with samples of the sequence length",
    "streaming starts each phase at the beginning of its streams; changing proportions in the "
    "middle of an epoch is accepted without a warning",
)


def files(plan: ExportPlan) -> dict[str, str]:
    """File name to text: ``llm-foundry_data.yaml`` and the token report.

    Raises:
        ExportError: If a domain has no path or the sequence length is unknown.
    """
    paths = plan.need_paths("llm-foundry")
    length = plan.need_sequences("llm-foundry")
    first, *later = plan.phases
    config: dict[str, Any] = {
        "max_duration": f"{plan.tokens}tok",
        "max_seq_len": length,
        "train_loader": {"name": "text", "dataset": _dataset(plan, first, paths)},
    }
    if later:
        config["callbacks"] = {
            "curriculum_learning": {
                "duration": f"{first.sequences * length}tok",
                "schedule": [
                    {
                        "duration": f"{p.sequences * length}tok",
                        "dataset": _dataset(plan, p, paths),
                    }
                    for p in later
                ],
            }
        }
    note = "Merge into the training configuration."
    return {
        "llm-foundry_data.yaml": yaml_text(config, note),
        "llm-foundry_tokens.json": token_report_text(plan, "llm-foundry", NOTES),
    }


def _dataset(plan: ExportPlan, phase: PhasePlan, paths: dict[str, str]) -> dict[str, Any]:
    streams = {
        name: {"local": paths[name], "proportion": weight}
        for name, weight in phase.weights().items()
    }
    return {
        "streams": streams,
        "shuffle": True,
        "shuffle_seed": plan.seed + phase.index,
        "max_seq_len": plan.sequence_length,
    }
