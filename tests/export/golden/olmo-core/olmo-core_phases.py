"""Phases of a training mixture for OLMo-core, written by mixopt.

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
SEQUENCE_LENGTH = 128
GLOBAL_BATCH_SIZE = 2048  # tokens
SEED = 0

# `lr` is the optimizer's; the rates of each phase are in steps from its start, as shares of it.
PHASES = [{'file': 'olmo-core_phase1_base.yaml',
  'tokens': 819200,
  'instances': 6400,
  'lr': 0.001,
  'rate': [{'duration': 25,
            'shape': 'linear',
            'start_lr_fraction': 0.0,
            'end_lr_fraction': 1.0},
           {'duration': 375,
            'shape': 'linear',
            'start_lr_fraction': 1.0,
            'end_lr_fraction': 1.0}]},
 {'file': 'olmo-core_phase2_the_end_.yaml',
  'tokens': 204800,
  'instances': 1600,
  'lr': 0.0005,
  'rate': [{'duration': 10,
            'shape': 'linear',
            'start_lr_fraction': 0.0,
            'end_lr_fraction': 1.0},
           {'duration': 40,
            'shape': 'linear',
            'start_lr_fraction': 1.0,
            'end_lr_fraction': 1.0},
           {'duration': 3,
            'shape': 'linear',
            'start_lr_fraction': 1.0,
            'end_lr_fraction': 0.779545923},
           {'duration': 3,
            'shape': 'linear',
            'start_lr_fraction': 0.779545923,
            'end_lr_fraction': 0.688230855},
           {'duration': 3,
            'shape': 'linear',
            'start_lr_fraction': 0.688230855,
            'end_lr_fraction': 0.618162338},
           {'duration': 3,
            'shape': 'linear',
            'start_lr_fraction': 0.618162338,
            'end_lr_fraction': 0.559091846},
           {'duration': 4,
            'shape': 'linear',
            'start_lr_fraction': 0.559091846,
            'end_lr_fraction': 0.490883118},
           {'duration': 3,
            'shape': 'linear',
            'start_lr_fraction': 0.490883118,
            'end_lr_fraction': 0.44520274},
           {'duration': 3,
            'shape': 'linear',
            'start_lr_fraction': 0.44520274,
            'end_lr_fraction': 0.403007538},
           {'duration': 3,
            'shape': 'linear',
            'start_lr_fraction': 0.403007538,
            'end_lr_fraction': 0.363603897},
           {'duration': 3,
            'shape': 'linear',
            'start_lr_fraction': 0.363603897,
            'end_lr_fraction': 0.32650167},
           {'duration': 3,
            'shape': 'linear',
            'start_lr_fraction': 0.32650167,
            'end_lr_fraction': 0.291339291},
           {'duration': 3,
            'shape': 'linear',
            'start_lr_fraction': 0.291339291,
            'end_lr_fraction': 0.257840987},
           {'duration': 4,
            'shape': 'linear',
            'start_lr_fraction': 0.257840987,
            'end_lr_fraction': 0.21539819},
           {'duration': 3,
            'shape': 'linear',
            'start_lr_fraction': 0.21539819,
            'end_lr_fraction': 0.185015338},
           {'duration': 3,
            'shape': 'linear',
            'start_lr_fraction': 0.185015338,
            'end_lr_fraction': 0.155725163},
           {'duration': 3,
            'shape': 'linear',
            'start_lr_fraction': 0.155725163,
            'end_lr_fraction': 0.127417626},
           {'duration': 3,
            'shape': 'linear',
            'start_lr_fraction': 0.127417626,
            'end_lr_fraction': 0.1}]}]


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
