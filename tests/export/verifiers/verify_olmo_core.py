"""Mixtures built by OLMo-core phase by phase, all of them in one run, and its scheduler."""

import runpy
import tempfile
import warnings
from collections import Counter

import numpy as np
from common import FOLDER, REPORT, answer, phases, token_of
from olmo_core.data import NumpyFSLDatasetConfig, TokenizerConfig

LENGTH, BATCH = REPORT["sequence_length"], REPORT["batch"]
TOKENIZER = TokenizerConfig(vocab_size=64, eos_token_id=0, pad_token_id=63)

for name, token in token_of.items():
    data = np.full(LENGTH * 400, token, dtype=np.uint8)
    data[LENGTH - 1 :: LENGTH] = 0
    data.tofile(FOLDER / "data" / f"{name}.npy")
script = runpy.run_path(str(FOLDER / "olmo-core_phases.py"))
drawn, rates, start = [], [], 0
for index, (_, phase) in enumerate(phases()):
    dataset = NumpyFSLDatasetConfig(
        source_mixture_config=script["mixture"](index),
        tokenizer=TOKENIZER,
        sequence_length=LENGTH,
        dtype="uint8",
        work_dir=tempfile.mkdtemp(),
    ).build()
    dataset.prepare()
    assert len(dataset) == phase["sequences"], (len(dataset), phase["sequences"])
    drawn.append(Counter(int(dataset[i]["input_ids"][0]) for i in range(len(dataset))))
    scheduler = script["scheduler"](index)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peak = script["PHASES"][index]["lr"]
        rates.append(
            {n: scheduler.get_lr(peak, (int(n) - start) // BATCH, 0) for n in phase["probe"]}
        )
    start += phase["sequences"]

loader = script["one_run"](TOKENIZER, str(FOLDER / "work"))
for epoch, counts in enumerate(drawn, 1):
    loader.reshuffle(epoch=epoch)
    seen = Counter()
    for batch in loader:
        seen.update(int(row[0]) for row in batch["input_ids"])
    for token in counts:
        assert abs(seen[token] - counts[token]) <= 1, (epoch, seen, counts)
    loader.reset()
answer(drawn, rates)
