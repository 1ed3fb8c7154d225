"""MaxText with grain: one mixture file per phase for ``grain_train_mixture_config_path``.

Changing the file on resume is the documented way to stage: grain keeps the iterator's state per
named source, so a source goes on where the phase before left it. Zero weights are refused by grain
and left out here. Written to the documented format, not run here.
"""

from __future__ import annotations

from mixopt.export.export_plan import ExportPlan, PhasePlan
from mixopt.export.texts import json_text
from mixopt.export.tokens import token_report_text

NOTES = (
    "resume with the next phase's file; grain keeps its place in each named source, so the start "
    "offsets hold",
)


def files(plan: ExportPlan) -> dict[str, str]:
    """File name to text: ``maxtext_phaseN_NAME.json`` and the token report.

    Raises:
        ExportError: If a domain has no path or the sequence length is unknown.
    """
    paths = plan.need_paths("maxtext")
    plan.need_sequences("maxtext")
    out = {f"maxtext_{p.slug}.json": _mixture(p, paths) for p in plan.phases}
    ends = _ends(plan)
    out["maxtext_tokens.json"] = token_report_text(plan, "maxtext", (*NOTES, *ends))
    return out


def _mixture(phase: PhasePlan, paths: dict[str, str]) -> str:
    weights = phase.weights()
    return json_text({n: {"path": paths[n], "weight": w} for n, w in weights.items()})


def _ends(plan: ExportPlan) -> list[str]:
    if plan.batch is None:
        return ["the batch is unknown: a phase's steps are its sequences over the global batch"]
    batch = plan.batch
    return [
        f"phase {p.name!r} ends at step {(p.start + p.sequences) // batch}" for p in plan.phases
    ]
