"""nanotron: cumulative ``data_stages``, one configuration per phase.

Its head trains only the last stage listed, so phase k is launched with the first k stages. Stages
count steps from 1. Written to its documented format: the released package cannot be
imported.
"""

from __future__ import annotations

from typing import Any

from mixopt.export.export_plan import ExportPlan, PhasePlan
from mixopt.export.texts import yaml_text
from mixopt.export.tokens import token_report_text

NOTES = (
    "launch the configurations in order, each from the checkpoint of the one before",
    "written to the documented format and not run: the released package cannot be imported",
)


def files(plan: ExportPlan) -> dict[str, str]:
    """File name to text: ``nanotron_phaseN_NAME.yaml`` and the token report.

    Raises:
        ExportError: If paths, sequence length or batch are unknown.
    """
    paths = plan.need_paths("nanotron")
    length = plan.need_sequences("nanotron")
    batch = plan.need_batch("nanotron")
    stages = [_stage(plan, p, paths, batch) for p in plan.phases]
    out = {}
    for phase in plan.phases:
        end = (phase.start + phase.sequences) // batch
        config = {
            "data_stages": stages[: phase.index + 1],
            "tokens": {"sequence_length": length, "train_steps": end},
        }
        note = f"Merge into the configuration; global batch of {batch} sequences."
        out[f"nanotron_{phase.slug}.yaml"] = yaml_text(config, note)
    out["nanotron_tokens.json"] = token_report_text(plan, "nanotron", NOTES)
    return out


def _stage(plan: ExportPlan, phase: PhasePlan, paths: dict[str, str], batch: int) -> dict[str, Any]:
    weights = phase.weights()
    return {
        "name": phase.slug,
        "start_training_step": phase.start // batch + 1,
        "data": {
            "seed": plan.seed + phase.index,
            "num_loading_workers": 1,
            "dataset": {
                "dataset_folder": [paths[name] for name in weights],
                "dataset_weights": list(weights.values()),
            },
        },
    }
