"""The streams of each phase, built and read by mosaicml-streaming."""

from collections import Counter

from common import FOLDER, REPORT, answer, phases, stand_in, token_of

stand_in("torchvision", "torchvision.datasets", "torchvision.transforms.functional")

import yaml
from streaming import MDSWriter, Stream, StreamingDataset
from streaming.base.util import clean_stale_shared_memory

for name in token_of:
    folder = str(FOLDER / "data" / name)
    with MDSWriter(out=folder, columns={"domain": "str"}, compression=None) as writer:
        for _ in range(300):
            writer.write({"domain": name})
config = yaml.safe_load((FOLDER / "llm-foundry_data.yaml").read_text())
callback = config["callbacks"]["curriculum_learning"]
datasets = [config["train_loader"]["dataset"], *(p["dataset"] for p in callback["schedule"])]
durations = [callback["duration"], *(p["duration"] for p in callback["schedule"])]
total = sum(int(d.removesuffix("tok")) for d in durations)
assert f"{total}tok" == config["max_duration"]
drawn = []
for (_, phase), data, duration in zip(phases(), datasets, durations, strict=True):
    assert duration == f"{phase['tokens']}tok"
    clean_stale_shared_memory()
    streams = [Stream(**settings) for settings in data["streams"].values()]
    dataset = StreamingDataset(
        streams=streams,
        epoch_size=data["epoch_size"],
        shuffle=data["shuffle"],
        shuffle_seed=data["shuffle_seed"],
        batch_size=REPORT["batch"],
    )
    drawn.append(Counter(row["domain"] for row in dataset))
answer(drawn)
