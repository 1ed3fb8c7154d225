"""Build a blend with the real Megatron and print how often each prefix is drawn.

Run by test_trainers.py in a process of its own: BLEND.json SAMPLES LENGTH. Prefixes are made beside
the blend; prefix k holds the token k alone.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder
from megatron.core.datasets.utils import get_blend_from_list

DOCUMENTS = 50


class Tokenizer:
    """What the dataset asks of one."""

    eod = pad = 0
    vocab_size = 64
    unique_identifiers = {"kind": "test"}


def write_prefix(prefix: str, token: int, length: int) -> None:
    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=np.uint16)
    for _ in range(DOCUMENTS):
        builder.add_document(torch.full((length,), token, dtype=torch.int32), [length])
    builder.finalize(f"{prefix}.idx")


def main(path: Path, samples: int, length: int) -> None:
    blend = json.loads(path.read_text())["train"]
    prefixes = blend[1::2]
    for index, prefix in enumerate(prefixes):
        write_prefix(prefix, index + 1, length)
    store = f"file://{path.parent / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    config = GPTDatasetConfig(
        random_seed=1,
        sequence_length=length,
        blend_per_split=[get_blend_from_list(blend), None, None],
        tokenizer=Tokenizer(),
        path_to_cache=str(path.parent / "cache"),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
    )
    build = BlendedMegatronDatasetBuilder(GPTDataset, [samples, 0, 0], lambda: True, config).build
    dataset = build()[0]
    counts = Counter(int(dataset[i]["tokens"][0]) for i in range(samples))
    print(json.dumps({prefix: counts[i + 1] for i, prefix in enumerate(prefixes)}))


main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
