"""Levanter: phases in one run as stages of ``train_weights``.

Stage numbers are steps. ``MixtureDataset`` (levanter/data/mixture.py) cuts each stage into blocks:
a source gets ``int(weight * block)`` sequences of each, the largest also the remainder; a stage
starts with a block, and a block is smaller than 2^16. So starts move to whole blocks, and weights
are written as shares of a block. The block is the one that realises the schedule best.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import ExportError
from mixopt.export.export_plan import ExportPlan, PhasePlan
from mixopt.export.exporter import Exporter, ImportedPhase, Written
from mixopt.export.importing import lengths, read_yaml, weighted
from mixopt.export.rate_plan import RatePlan
from mixopt.export.texts import yaml_text
from mixopt.space import largest_remainder

Floats = NDArray[np.float64]

LARGEST_BLOCK = 2**16 - 1
# Far above the rounding error of a product, far below one sequence of the largest block.
TRIFLE = 1e-10
# Steps per block that are tried, beside the powers of two.
FEW_STEPS = 64
_SHAPES = {"linear": "linear", "cosine": "cosine"}


def align(plan: ExportPlan) -> ExportPlan:
    """The plan with its starts on the blocks that realise the schedule best."""
    steps, block = _best_block(plan)
    return plan.on_grid(steps, partial(_in_blocks, block=block))


def _best_block(plan: ExportPlan) -> tuple[int, int]:
    """Steps between block starts, and sequences per block."""
    most = max(1, LARGEST_BLOCK // plan.step)
    tried = {*range(1, min(most, FEW_STEPS) + 1), *(2**i for i in range(most.bit_length()))}
    found = []
    for steps in sorted(k for k in tried if k <= most):
        block = _largest_divisor(steps * plan.step)
        try:
            moved = plan.on_grid(steps, partial(_in_blocks, block=block))
        except ExportError:
            continue
        found.append((round(_misplaced(moved), 3), steps, block))
    if not found:
        raise ExportError(
            f"every phase must last a step of {plan.step} sequences",
            "export for more tokens, or with a smaller batch",
        )
    return min(found)[1:]


def _largest_divisor(number: int) -> int:
    """The largest divisor that is a possible block."""
    parts = range(-(-number // LARGEST_BLOCK), number + 1)
    return number // next(m for m in parts if number % m == 0)


def _in_blocks(shares: Floats, sequences: int, block: int) -> NDArray[np.int64]:
    """What whole blocks draw, and the likeliest part of one that is cut off."""
    counts = _drawn_per_block(_weights(shares, block), block)
    whole, rest = divmod(sequences, block)
    return counts * whole + largest_remainder(counts / block, rest)


def _weights(shares: Floats, block: int) -> Floats:
    """Whole parts of a block, raised by a trifle where the product with it would fall short."""
    counts = largest_remainder(shares, block)
    weights = counts / block
    for _ in range(20):
        short = (weights / sum(weights.tolist()) * block).astype(np.int64) < counts
        short[np.argmax(counts)] = False
        if not short.any():
            break
        weights[short] *= 1 + TRIFLE
    return np.asarray(weights)


def _drawn_per_block(weights: Floats, block: int) -> NDArray[np.int64]:
    """As ``MixtureDataset._compute_expected_counts_per_block``: rounded down, the rest to one."""
    counts = (weights / sum(weights.tolist()) * block).astype(np.int64)
    counts[np.argmax(counts)] += block - counts.sum()
    return np.asarray(counts)


def _misplaced(plan: ExportPlan) -> float:
    """Sequences drawn otherwise than asked for, summed over phases and domains."""
    return sum(
        abs(phase.quota.get(name, 0) - weight * phase.fraction * plan.sequences)
        for phase in plan.phases
        for name, weight in phase.asked.items()
    )


def write(plan: ExportPlan) -> Written:
    """One configuration to merge."""
    _, block = _best_block(plan)
    rate, rate_notes = _rate(plan)
    config: dict[str, Any] = {
        "data": {
            "mixture_block_size": block,
            "components": {
                name: {"source": {"type": "url", "train_urls": [plan.paths[name]]}}
                for name in plan.domains
            },
            "train_weights": [_stage(plan, phase, block) for phase in plan.phases],
        },
        "train_seq_len": plan.sequence_length,
        "data_seed": plan.seed,
        "trainer": {"num_train_steps": plan.steps, "train_batch_size": plan.batch},
    }
    if rate:
        config["optimizer"] = rate
    notes = [f"each block of {block} sequences holds a whole number of each domain"]
    lost = [f"{n} in {p.name}" for p in plan.phases for n in p.asked if n not in p.quota]
    if lost:
        notes.append(f"below one sequence per block and so never drawn: {', '.join(lost)}")
    return Written(
        {"levanter_data.yaml": yaml_text(config, "Merge into the training configuration.")},
        (rate,) * len(plan.phases),
        ("merge levanter_data.yaml into the configuration and start train_lm once",),
        ("stages are found by the step, so a resumed run goes on where it was",),
        (*notes, *rate_notes),
    )


def _stage(plan: ExportPlan, phase: PhasePlan, block: int) -> list[Any]:
    found = _weights(np.array(list(phase.asked.values())), block).tolist()
    weights = dict(zip(phase.asked, found, strict=True))
    return [phase.start // plan.step, {name: weights.get(name, 0.0) for name in plan.domains}]


def _rate(plan: ExportPlan) -> tuple[dict[str, Any], list[str]]:
    """The rule, in cycles where phases have their own, and what they cannot say."""
    rates = [p.rate for p in plan.phases]
    last = rates[-1] or next((r for r in rates if r), None)
    if last is None:
        return {}, []
    first = rates[0] or last
    begin, _end = last.span(plan.step)
    fall = last.decay(plan.step)
    shape = _SHAPES.get(last.rule.shape, "linear")
    out: dict[str, Any] = {
        "learning_rate": last.peak_text,
        "warmup": _steps(first.warmup(plan.step)),
        "lr_schedule": shape if fall else "constant",
        "min_lr_ratio": last.rule.final if fall else 1.0,
        "decay": _steps(fall),
    }
    notes = []
    if begin:
        out |= {
            "cycles": [p.start // plan.step for p in plan.phases[1:] if p.rate and p.rate.own],
            "rewarmup": _steps(last.warmup(plan.step)),
        }
        notes.append(
            "a cycle warms up again from the rate at which the one before ended; peak, fall and "
            "least rate are the last phase's in every cycle"
        )
        if not _same_but_warmup(first, last):
            notes.append(
                "Levanter has one rule for all cycles, so the rule before the last phase differs "
                "from the schedule's"
            )
    elif last.rule.start and last.rule.warmup:
        notes.append("Levanter warms up from 0; the rule's start is left out")
    if last.decays and last.rule.shape not in _SHAPES:
        notes.append(f"Levanter has no {last.rule.shape} fall over given steps; linear stands in")
    return out, notes


def _steps(value: int | str) -> int | float | str:
    """Steps as Levanter reads them: a number up to 1 would be a share of the cycle."""
    return value if isinstance(value, str) or value > 1 else 0.0 if value == 0 else 2


def _same_but_warmup(one: RatePlan, other: RatePlan) -> bool:
    shared = {"warmup": 0.0, "start": 0.0, "peak": None}
    return one.scale == other.scale and one.rule.model_copy(update=shared) == other.rule.model_copy(
        update=shared
    )


def read(path: Path) -> tuple[ImportedPhase, ...]:
    """The stages of a configuration."""
    config = read_yaml(path)
    data = config.get("data", config)
    components = data.get("components") or data.get("configs") or {}
    urls = {name: (c.get("source") or c).get("train_urls") for name, c in components.items()}
    paths = {name: found[0] for name, found in urls.items() if found}
    stages = data["train_weights"]
    stages = stages if isinstance(stages, list) else [[0, stages]]
    end = (config.get("trainer") or {}).get("num_train_steps")
    spans = lengths([start for start, _ in stages], end)
    return tuple(weighted(w, path, n, paths) for (_, w), n in zip(stages, spans, strict=True))


EXPORTER = Exporter(
    name="levanter",
    write=write,
    align=align,
    changes="one run",
    unit="sequences of a block",
    loaded="marin-levanter 0.2.227 (blocks and rates)",
    read=read,
)
