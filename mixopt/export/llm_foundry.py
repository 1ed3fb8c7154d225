"""llm-foundry with mosaicml-streaming: phases in one run by the ``curriculum_learning`` callback.

Durations are in tokens and must sum to ``max_duration``
(llmfoundry/callbacks/curriculum_learning_callback.py). Proportions count stored MDS samples of an
epoch, so ``epoch_size`` is the phase's sequences and the quotas are exact. Composer's schedulers
hold for the whole run; ``inv_sqrt_with_warmup`` with ``alpha_f_decay: 1`` is flat until its
cooldown (llmfoundry/optim/scheduler.py), which makes it warm-up-stable-decay.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mixopt.export.export_plan import ExportPlan, PhasePlan
from mixopt.export.exporter import Exporter, ImportedPhase, Written
from mixopt.export.importing import read_yaml, weighted
from mixopt.export.rate_plan import WARMUP, RatePlan
from mixopt.export.texts import yaml_text


def write(plan: ExportPlan) -> Written:
    """One configuration to merge."""
    first, *later = plan.phases
    rate, rate_notes = _rate(plan)
    config: dict[str, Any] = {
        "max_duration": _tok(plan, plan.sequences),
        "max_seq_len": plan.sequence_length,
        "global_train_batch_size": plan.batch,
        **rate,
        "train_loader": {"name": "text", "dataset": _dataset(plan, first), "drop_last": True},
    }
    if later:
        config["callbacks"] = {
            "curriculum_learning": {
                "duration": _tok(plan, first.sequences),
                "schedule": [
                    {"duration": _tok(plan, p.sequences), "dataset": _dataset(plan, p)}
                    for p in later
                ],
            }
        }
    text = yaml_text(config, "Merge into the training configuration.")
    return Written(
        {"llm-foundry_data.yaml": text},
        (rate,) * len(plan.phases),
        ("merge llm-foundry_data.yaml into the configuration and start train.py once",),
        ON_RESUME,
        (*NOTES, *rate_notes),
    )


ON_RESUME = (
    "the callback refuses another dataset for phases that were trained; streaming alone accepts "
    "changed proportions in the middle of an epoch without a word",
)
NOTES = (
    "proportions count stored samples: write every stream with samples of the sequence length",
    "streaming starts each phase at the beginning of its streams, in another order",
)


def _tok(plan: ExportPlan, sequences: int) -> str:
    return f"{sequences * plan.sequence_length}tok"


def _dataset(plan: ExportPlan, phase: PhasePlan) -> dict[str, Any]:
    return {
        "streams": {
            name: {"local": plan.paths[name], "proportion": weight}
            for name, weight in phase.weights().items()
        },
        "epoch_size": phase.sequences,
        "shuffle": True,
        "shuffle_seed": plan.seed + phase.index,
        "max_seq_len": plan.sequence_length,
    }


def _rate(plan: ExportPlan) -> tuple[dict[str, Any], list[str]]:
    """The rule over the whole run, and what it cannot say."""
    rates = [p.rate for p in plan.phases if p.rate]
    alone = rates if len(plan.phases) == 1 else []
    rate = next((r for r in [*rates, *alone] if not r.own or r in alone), None)
    notes = []
    if any(r.own for r in rates) and len(plan.phases) > 1:
        notes.append(
            "Composer has one rule for the whole run: rules of single phases are left out; train "
            "each phase as a run of its own from the last checkpoint for them"
        )
    if rate is None:
        return {}, notes
    if rate.rule.start and rate.rule.warmup:
        notes.append("Composer warms up from 0; the rule's start is left out")
    if rate.decays and not rate.whole and rate.rule.shape != "linear":
        notes.append(f"the cooldown is linear; it stands in for {rate.rule.shape}")
    scheduler = _scheduler(plan, rate)
    return {"optimizer": {"lr": rate.peak_text}, "scheduler": scheduler}, notes


def _scheduler(plan: ExportPlan, rate: RatePlan) -> dict[str, Any]:
    rise, final = rate.warmup(), rate.rule.final
    warmup = f"{WARMUP}tok" if isinstance(rise, str) else _tok(plan, rise)
    if not rate.decays:
        return {"name": "constant_with_warmup", "t_warmup": warmup}
    if rate.whole and rate.rule.shape in ("linear", "cosine"):
        name = "linear_decay" if rate.rule.shape == "linear" else "cosine"
        return {"name": f"{name}_with_warmup", "t_warmup": warmup, "alpha_f": final}
    return {
        "name": "inv_sqrt_with_warmup",
        "t_warmup": warmup,
        "t_scale": _tok(plan, 1),
        "t_cooldown": _tok(plan, rate.decay()),
        "alpha_f_decay": 1.0,
        "alpha_f_cooldown": final,
    }


def read(path: Path) -> tuple[ImportedPhase, ...]:
    """The datasets of a configuration."""
    data = read_yaml(path)
    callback = (data.get("callbacks") or {}).get("curriculum_learning") or {"schedule": []}
    parts = [callback | {"dataset": data["train_loader"]["dataset"]}, *callback["schedule"]]
    out = []
    for part in parts:
        streams = part["dataset"]["streams"]
        amounts = {name: stream["proportion"] for name, stream in streams.items()}
        paths = {name: stream["local"] for name, stream in streams.items()}
        count = str(part.get("duration", "")).removesuffix("tok").removesuffix("ep")
        out.append(weighted(amounts, path, int(count) if count else None, paths))
    return tuple(out)


EXPORTER = Exporter(
    name="llm-foundry",
    aliases=("llm_foundry", "mosaicml", "streaming"),
    write=write,
    changes="one run",
    unit="stored samples",
    loaded="mosaicml-streaming 0.13.0 (streams); the callback is read in llm-foundry 0.22.0",
    read=read,
)
