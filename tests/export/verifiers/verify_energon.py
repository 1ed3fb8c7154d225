"""The metadataset of each phase, loaded and drawn by energon."""

import io
import subprocess
import sys
import tarfile
from collections import Counter
from itertools import islice

from common import FOLDER, answer, phases, token_of
from megatron.energon import WorkerConfig, get_loader, get_train_dataset


def write(name):
    """A dataset of samples that hold their domain's name."""
    folder = FOLDER / "data" / name
    folder.mkdir()
    with tarfile.open(folder / "part-0.tar", "w") as tar:
        for number in range(300):
            info = tarfile.TarInfo(f"{number:05}.txt")
            info.size = len(name)
            tar.addfile(info, io.BytesIO(name.encode()))
    words = ["--non-interactive", "--split-parts", "train:part-0.tar", "--no-progress"]
    kind = ["--sample-type", "TextSample", "--field-map", '{"text": "txt"}']
    prepare = [f"{sys.prefix}/bin/energon", "prepare", *words, *kind, folder]
    subprocess.run(prepare, check=True, capture_output=True)


for name in token_of:
    write(name)
drawn = []
for slug, phase in phases():
    dataset = get_train_dataset(
        FOLDER / f"energon_{slug}.yaml",
        worker_config=WorkerConfig(rank=0, world_size=1, num_workers=0),
        batch_size=1,
        shuffle_buffer_size=None,
        max_samples_per_sequence=None,
    )
    rows = islice(get_loader(dataset), phase["sequences"])
    drawn.append(Counter(str(row.text[0]) for row in rows))
answer(drawn)
