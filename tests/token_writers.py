"""Token files in the layouts that the trainers document; `verify.py` reads real ones."""

import json
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def megatron(prefix, documents, dtype="<u2", code=8, version=1, sequences=1):
    """A ``.bin`` and its ``.idx``; every document in so many sequences."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    parts = [part for ids in documents for part in np.array_split(np.array(ids, dtype), sequences)]
    prefix.with_suffix(".bin").write_bytes(b"".join(part.tobytes() for part in parts))
    lengths = np.array([len(part) for part in parts], "<i4")
    places = np.concatenate([[0], np.cumsum(lengths[:-1])]) * np.dtype(dtype).itemsize
    marks = np.arange(0, len(parts) + 1, sequences, dtype="<i8")
    head = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", version, code, len(parts), len(marks))
    body = lengths.tobytes() + places.astype("<i8").tobytes() + marks.tobytes()
    prefix.with_suffix(".idx").write_bytes(head + body)
    return prefix.with_suffix(".idx")


def mds(folder, documents, encoding="ndarray:int32", pack=None, per_shard=50):
    """Shards with a column of ids between two others; ``pack`` is a kind and its function."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = {"id": ("int", 8), "input_ids": (encoding, None), "note": ("str", None)}
    shards = []
    for number, start in enumerate(range(0, len(documents), per_shard)):
        samples = [
            _mds_sample(row, np.array(ids, "<i4"), encoding)
            for row, ids in enumerate(documents[start : start + per_shard], start)
        ]
        config = b'{"format": "mds"}'
        begin = 4 * (len(samples) + 2) + len(config)
        bounds = np.cumsum([begin, *map(len, samples)]).astype("<u4")
        count = struct.pack("<I", len(samples))
        data = b"".join([count, bounds.tobytes(), config, *samples])
        name = f"shard.{number:05}.mds"
        kind, packed = pack or (None, None)
        extra = name if packed is None else f"{name}.{kind}"
        (folder / extra).write_bytes(data if packed is None else packed(data))
        shards.append(
            {
                "column_encodings": [encoding for encoding, _ in fields.values()],
                "column_names": list(fields),
                "column_sizes": [size for _, size in fields.values()],
                "compression": kind,
                "format": "mds",
                "raw_data": {"basename": name, "bytes": len(data), "hashes": {}},
                "samples": len(samples),
                "version": 2,
                "zip_data": {"basename": extra} if packed else None,
            }
        )
    (folder / "index.json").write_text(json.dumps({"version": 2, "shards": shards}))
    return folder


def _mds_sample(row, ids, encoding):
    kind, *settings = encoding.split(":")
    value = ids.tobytes()
    if kind == "ndarray" and len(settings) < 2:
        # One dimension, its length in two bytes.
        value = bytes([1 << 2 | 1]) + struct.pack("<H", len(ids)) + value
    if kind == "ndarray" and not settings:
        value = bytes([33]) + value
    note = b"a note"
    return struct.pack("<II", len(value), len(note)) + struct.pack("<q", row) + value + note


def table(documents, **columns):
    """Rows of ids as a table."""
    return pa.table({**columns, "input_ids": pa.array(documents, pa.list_(pa.int32()))})


def parquet(path, documents, **columns):
    """A Parquet file of several row groups."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table(documents, **columns), path, row_group_size=7)
    return path


def arrow(path, documents, stream=False, **columns):
    """An Arrow file, or a stream as ``datasets`` saves it, of several batches."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = table(documents, **columns)
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(str(path), rows.schema) as writer:
        writer.write_table(rows, max_chunksize=7)
    return path


def flat(documents, dtype="<u2"):
    """One stream of ids."""
    return np.concatenate([np.array(ids, dtype) for ids in documents])
