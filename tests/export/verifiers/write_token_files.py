"""Token files of one set of documents, written by the libraries of this environment."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

FOLDER = Path(sys.argv[1])
DOCUMENTS = json.loads((FOLDER / "documents.json").read_text())


def megatron():
    """Ids in two bytes and in four, with several sequences to a document and with one."""
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    for name, dtype in (("short", np.uint16), ("long", np.int32)):
        builder = IndexedDatasetBuilder(str(FOLDER / f"{name}.bin"), dtype=dtype)
        for ids in DOCUMENTS:
            lengths = [len(ids)] if name == "short" else [3, len(ids) - 3]
            builder.add_document(torch.tensor(ids, dtype=torch.int32), lengths)
        builder.finalize(str(FOLDER / f"{name}.idx"))
        yield f"Megatron, {np.dtype(dtype)}", {"tokens": f"{name}.idx"}
    merged = IndexedDatasetBuilder(str(FOLDER / "merged.bin"), dtype=np.uint16)
    merged.add_index(str(FOLDER / "short"))
    merged.finalize(str(FOLDER / "merged.idx"))
    yield "Megatron, merged", {"tokens": "merged"}


def datasets():
    """What ``datasets`` saves to disk and exports."""
    from datasets import Dataset

    rows = Dataset.from_dict({"input_ids": DOCUMENTS, "n": list(range(len(DOCUMENTS)))})
    rows.save_to_disk(str(FOLDER / "disk"), num_shards=2)
    yield "datasets, save_to_disk", {"tokens": "disk/*.arrow"}
    rows.to_parquet(str(FOLDER / "rows.parquet"), batch_size=16)
    yield "datasets, to_parquet", {"tokens": "rows.parquet"}


def streaming():
    """MDS with and without a fixed type, packed and not, in several shards."""
    from common import stand_in

    stand_in("torchvision", "torchvision.datasets", "torchvision.transforms.functional")
    from streaming import MDSWriter

    kinds = [
        ("ndarray:int32", None),
        ("ndarray", None),
        ("ndarray:uint16", "zstd:7"),
        ("ndarray:int64", "gz"),
        ("bytes", None),
    ]
    for number, (encoding, compression) in enumerate(kinds):
        folder = FOLDER / f"mds{number}"
        columns = {"input_ids": encoding, "n": "int", "note": "str"}
        pick = encoding.partition(":")[2] or "int32"
        settings = {"columns": columns, "compression": compression, "size_limit": 2048}
        with MDSWriter(out=str(folder), **settings) as writer:
            for n, ids in enumerate(DOCUMENTS):
                array = np.array(ids, pick)
                value = array.tobytes() if encoding == "bytes" else array
                writer.write({"input_ids": value, "n": n, "note": "x" * (n % 5)})
        source = {"tokens": folder.name, **({"dtype": pick} if encoding == "bytes" else {})}
        yield f"MDS, {encoding}, {compression or 'not packed'}", source


LIBRARIES = {"megatron": megatron, "datasets": datasets, "streaming": streaming}
found = [
    part for name, write in LIBRARIES.items() if find_spec(name) is not None for part in write()
]
print("\n" + json.dumps(found))
