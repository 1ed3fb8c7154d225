"""OLMo-core: one source mixture per phase, and a script that builds them and runs them in one.

``SourceMixtureList`` holds token ratios that must sum to 1, under a hard cap on repetition: too few
tokens raise. Phases are runs of their own that load the model and not the trainer's state, so their
rates count steps from the phase's start; or, by the composable loader, epochs of one run.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mixopt.export.export_plan import ExportPlan, PhasePlan
from mixopt.export.exporter import Exporter, ImportedPhase, Written
from mixopt.export.importing import read_yaml, weighted
from mixopt.export.rate_plan import RatePlan, rate_stages
from mixopt.export.texts import phase_script, yaml_text

_SCRIPT = '''"""Phases of a training mixture for OLMo-core, written by mixopt.

`mixture(i)` and `scheduler(i)` are those of a phase trained as a run of its own, with
load_trainer_state=False after the first; `one_run` is a loader whose epochs are the phases.
"""

from pathlib import Path

from olmo_core.data.composable import (
    ComposableDataLoaderConfig,
    ConcatAndChunkInstanceSourceConfig,
    MixingInstanceSourceConfig,
    MixingInstanceSourceSpecConfig,
)
from olmo_core.data.source_mixture import SourceMixtureDatasetConfig, SourceMixtureList
from olmo_core.optim.scheduler import ComposableScheduler, ComposableSchedulerStage

HERE = Path(__file__).parent
SEQUENCE_LENGTH = {length}
GLOBAL_BATCH_SIZE = {batch}  # tokens
SEED = {seed}

# `lr` is the optimizer's; the rates of each phase are in steps from its start, as shares of it.
PHASES = {phases}


def mixture(index):
    """The sources of one phase, for NumpyFSLDatasetConfig(source_mixture_config=...)."""
    return SourceMixtureDatasetConfig(
        source_list=SourceMixtureList.from_yaml(str(HERE / PHASES[index]["file"])),
        requested_tokens=PHASES[index]["tokens"],
        global_batch_size=GLOBAL_BATCH_SIZE,
        seed=SEED + index,
    )


def scheduler(*indices):
    """The rates of one phase, or of all of them in one run: `scheduler(*range(len(PHASES)))`."""
    stages = [stage for index in indices for stage in PHASES[index]["rate"]]
    return ComposableScheduler(stages=[ComposableSchedulerStage(**stage) for stage in stages])


def one_run(tokenizer, work_dir):
    """A loader with one epoch per phase: train for len(PHASES) epochs."""
    phases = []
    for index, phase in enumerate(PHASES):
        specs = [
            MixingInstanceSourceSpecConfig(
                source=ConcatAndChunkInstanceSourceConfig.from_npy(
                    *source.paths, tokenizer=tokenizer, sequence_length=SEQUENCE_LENGTH
                ),
                ratio=source.target_ratio,
                max_repetition_factor=source.max_repetition_ratio,
                label=source.source_name,
            )
            for source in mixture(index).source_list.sources
        ]
        mixed = MixingInstanceSourceConfig(
            source_specs=specs, num_instances=phase["instances"], seed=SEED + index
        )
        phases.append(mixed.build(work_dir))
    loader = ComposableDataLoaderConfig(
        tokenizer=tokenizer,
        global_batch_size=GLOBAL_BATCH_SIZE,
        seed=SEED,
        work_dir=work_dir,
        sources_per_epoch=1,
        shuffle_strategy="intra_source",
    )
    return loader.build(*phases)
'''


def write(plan: ExportPlan) -> Written:
    """The sources of each phase, and a script."""
    files, phases, rates = {}, [], []
    for phase in plan.phases:
        name = f"olmo-core_{phase.slug}.yaml"
        files[name] = _sources(plan, phase)
        stages = _stages(phase.rate, phase, plan.step) if phase.rate else []
        phases.append(
            {
                "file": name,
                "tokens": phase.sequences * plan.sequence_length,
                "instances": phase.sequences,
                "lr": phase.rate.peak_text if phase.rate else None,
                "rate": stages,
            }
        )
        peak = {"lr": phase.rate.peak_text} if phase.rate else {}
        rates.append(peak | ({"ComposableScheduler.stages": stages} if stages else {}))
    tokens = plan.step * plan.sequence_length
    files["olmo-core_phases.py"] = phase_script(_SCRIPT, plan, phases, batch=tokens)
    commands = [
        f"phase {p.name}: mixture({p.index}) and scheduler({p.index}) of olmo-core_phases.py, "
        f"peak {rates[p.index].get('lr', 'as you choose')}"
        + ("" if p.index == 0 else ", load_trainer_state=False from the last checkpoint")
        for p in plan.phases
    ]
    return Written(files, tuple(rates), tuple(commands), ON_RESUME, NOTES)


ON_RESUME = (
    "a data loader of another fingerprint is refused; ignore_fingerprint_mismatch lets it pass",
    "without the trainer's state steps and rates begin at 0 again",
)
NOTES = (
    "each phase samples every source anew, so keep the documents of the phases apart to honour "
    "the start offsets",
    "all phases share the peak of the optimizer in one run",
)


def _stages(rate: RatePlan, phase: PhasePlan, batch: int) -> list[dict[str, Any]]:
    return [
        {
            "duration": stage.units,
            "shape": stage.shape,
            "start_lr_fraction": round(stage.first, 9),
            "end_lr_fraction": round(stage.last, 9),
        }
        for stage in rate_stages(rate, phase.start, phase.end, batch)
    ]


def _sources(plan: ExportPlan, phase: PhasePlan) -> str:
    sources = []
    for name, weight in phase.weights().items():
        source = {"source_name": name, "target_ratio": weight, "paths": [plan.paths[name]]}
        passes = plan.epochs(name, phase.quota[name] * plan.sequence_length)
        if passes is not None and passes > 1:
            # Room for the sequences that a source loses to its last incomplete one.
            source["max_repetition_ratio"] = math.ceil(passes * 100 + 1) / 100
        sources.append(source)
    return yaml_text({"sources": sources}, f"Phase {phase.name}; built by olmo-core_phases.py.")


def read(path: Path) -> tuple[ImportedPhase, ...]:
    """A source mixture list."""
    sources = read_yaml(path)["sources"]
    paths = {s["source_name"]: s["paths"][0] for s in sources}
    return (weighted({s["source_name"]: s["target_ratio"] for s in sources}, path, None, paths),)


EXPORTER = Exporter(
    name="olmo-core",
    aliases=("olmo_core", "olmo"),
    write=write,
    changes="relaunch",
    unit="tokens, under a cap on repetition",
    loaded="ai2-olmo-core 3.0.0 (mixtures, rates, one run)",
    read=read,
)
