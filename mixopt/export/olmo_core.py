"""OLMo-core: one source mixture per phase for ``SourceMixtureList.from_yaml``.

Weights are token ratios that must sum to 1, under a hard cap on repetition: too few tokens raise.
Each phase is a run of its own that loads the model and not the trainer's state. Built and counted
with ai2-olmo-core 3.0.0.
"""

from __future__ import annotations

import math
from typing import Any

from mixopt.export.export_plan import ExportPlan, PhasePlan
from mixopt.export.texts import yaml_text
from mixopt.export.tokens import token_report_text

NOTES = (
    "requested_tokens, global_batch_size (in tokens) and seed are arguments of "
    "SourceMixtureDatasetConfig; the first lines of each file give them",
    "each phase after the first is a new run with load_trainer_state=False; it draws from each "
    "source anew, so keep the documents of the phases apart to honour the start offsets",
)


def files(plan: ExportPlan) -> dict[str, str]:
    """File name to text: ``olmo-core_phaseN_NAME.yaml`` and the token report.

    Raises:
        ExportError: If a domain has no path or the sequence length is unknown.
    """
    paths = plan.need_paths("olmo-core")
    plan.need_sequences("olmo-core")
    out = {f"olmo-core_{p.slug}.yaml": _sources(plan, p, paths) for p in plan.phases}
    out["olmo-core_tokens.json"] = token_report_text(plan, "olmo-core", NOTES)
    return out


def _sources(plan: ExportPlan, phase: PhasePlan, paths: dict[str, str]) -> str:
    batch = "unknown" if plan.batch is None else str(plan.batch * plan.sequence_length)
    sources = [
        _source(plan, name, weight, phase.quota[name], paths[name])
        for name, weight in phase.weights().items()
    ]
    return yaml_text(
        {"sources": sources},
        f"requested_tokens: {phase.sequences * plan.sequence_length}",
        f"global_batch_size: {batch}",
        f"sequence_length: {plan.sequence_length}",
        f"seed: {plan.seed + phase.index}",
    )


def _source(
    plan: ExportPlan, name: str, weight: float, sequences: int, path: str
) -> dict[str, Any]:
    source: dict[str, Any] = {"source_name": name, "target_ratio": weight, "paths": [path]}
    passes = plan.epochs(name, sequences * plan.sequence_length)
    if passes is not None and passes > 1:
        # Room for the sequences that a source loses to its last incomplete one.
        source["max_repetition_ratio"] = math.ceil(passes * 100 + 1) / 100
    return source
