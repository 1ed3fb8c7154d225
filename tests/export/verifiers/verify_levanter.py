"""The data block parsed and drawn by Levanter, and its rates."""

from collections import Counter

import draccus
import numpy as np
import yaml
from common import FOLDER, REPORT, answer, phases, token_of
from levanter.data.dataset import ListAsyncDataset
from levanter.data.mixture import MixtureDataset
from levanter.data.text.datasets import LmDataConfig
from levanter.optim.config import AdamConfig

BATCH = REPORT["batch"]
config = yaml.safe_load((FOLDER / "levanter_data.yaml").read_text())
data = draccus.decode(LmDataConfig, config["data"])
assert set(data.components) == set(token_of)
stages = [(step * BATCH, weights) for step, weights in data.train_weights]
sources = {name: ListAsyncDataset([token] * 300) for name, token in token_of.items()}
mixture = MixtureDataset(sources, stages, data.mixture_block_size, key=0)
steps = config["trainer"]["num_train_steps"]
rule = draccus.decode(AdamConfig, config["optimizer"]).lr_scheduler(steps)
drawn, rates, start = [], [], 0
for _, phase in phases():
    end = start + phase["sequences"]
    rows = mixture.as_sync_dataset().get_batch(range(start, end))
    drawn.append(Counter(np.asarray(rows).tolist()))
    rates.append({n: float(rule(int(n) // BATCH)) for n in phase["probe"]})
    start = end
answer(drawn, rates)
