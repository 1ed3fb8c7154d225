"""Blends built by megatron-core, and rates by its scheduler loaded at each phase's start."""

import argparse
import json
import subprocess
from collections import Counter

import numpy as np
import torch
from common import FOLDER, REPORT, answer, phases, token_of
from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder
from megatron.core.datasets.utils import get_blend_from_list
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

LENGTH = REPORT["sequence_length"]


class Tokenizer:
    """What the dataset asks of one."""

    eod = pad = 0
    vocab_size = 64
    unique_identifiers = {"kind": "test"}


def write(prefix, token):
    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=np.uint16)
    for _ in range(50):
        builder.add_document(torch.full((LENGTH,), token, dtype=torch.int32), [LENGTH])
    builder.finalize(f"{prefix}.idx")


def flags(slug):
    script = f'source {FOLDER}/megatron_{slug}.sh; printf "%s\\n" "${{MIXOPT_FLAGS[@]}}"'
    words = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    parser = argparse.ArgumentParser()
    for name in ("lr", "min-lr", "lr-warmup-init"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    for name in ("lr-warmup-samples", "lr-decay-samples", "lr-wsd-decay-samples", "train-samples"):
        parser.add_argument(f"--{name}", type=int, default=0)
    for name in ("lr-decay-style", "lr-wsd-decay-style", "per-split-data-args-path"):
        parser.add_argument(f"--{name}")
    # As Megatron's own parser: one string, split at commas.
    parser.add_argument("--phase-transition-iterations", default="")
    return parser.parse_known_args(words.stdout.split("\n"))[0]


def rate(given, samples):
    group = {"lr": 0.0}
    optimizer = argparse.Namespace(param_groups=[group])
    scheduler = OptimizerParamScheduler(
        optimizer,
        init_lr=given.lr_warmup_init,
        max_lr=given.lr,
        min_lr=given.min_lr,
        lr_warmup_steps=given.lr_warmup_samples,
        lr_decay_steps=given.lr_decay_samples,
        lr_decay_style=given.lr_decay_style,
        start_wd=0.1,
        end_wd=0.1,
        wd_incr_steps=given.train_samples,
        wd_incr_style="constant",
        wsd_decay_steps=given.lr_wsd_decay_samples or None,
        lr_wsd_decay_style=given.lr_wsd_decay_style,
    )
    scheduler.step(samples)
    return group["lr"]


def counts(blend, samples):
    config = GPTDatasetConfig(
        random_seed=1,
        sequence_length=LENGTH,
        blend_per_split=[get_blend_from_list(blend), None, None],
        tokenizer=Tokenizer(),
        path_to_cache=str(FOLDER / "cache"),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
    )
    build = BlendedMegatronDatasetBuilder(GPTDataset, [samples, 0, 0], lambda: True, config).build
    dataset = build()[0]
    return Counter(int(dataset[i]["tokens"][0]) for i in range(samples))


store = f"file://{FOLDER / 'store'}"
torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
for name, token in token_of.items():
    write(FOLDER / "data" / name, token)
drawn, rates = [], []
for slug, phase in phases():
    given = flags(slug)
    ends = [int(part) for part in given.phase_transition_iterations.split(",") if part]
    assert ends == [p["start"] // LENGTH // REPORT["batch"] for p in REPORT["phases"][1:]], ends
    blend = json.loads((FOLDER / f"megatron_{slug}.json").read_text())["train"]
    drawn.append(counts(blend, phase["sequences"]))
    rates.append({n: rate(given, int(n)) for n in phase["probe"]})
answer(drawn, rates)
