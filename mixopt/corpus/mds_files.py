"""MDS, the shards of mosaicml-streaming: an ``index.json`` and a file per shard.

A shard (streaming/base/format/mds) is its count of samples, where each begins and the last ends,
its settings as JSON, and the samples: the sizes of columns that vary, then the columns.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray

from mixopt.corpus.documents import Documents, Ids, SourceFile, fault, token_field

_UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}
_TYPES = {8: "u1", 9: "i1", 16: "<u2", 17: "<i2", 32: "<u4", 33: "<i4", 64: "<u8", 65: "<i8"}


class _Shard(NamedTuple):
    """One file of an index: its samples, how they are written and where it lies."""

    samples: int
    size: int
    names: list[str]
    encodings: list[str]
    sizes: list[int | None]
    compression: str | None
    raw: Path
    packed: Path | None


def read_mds(domain: str, file: SourceFile) -> Documents:
    """The samples of a folder of shards; those that are not compressed are memory-mapped.

    Raises:
        CorpusError: The index is broken, a shard is not whole, or the column is not of ids.
    """
    shards = _read_index(domain, file)
    parts = [_samples(domain, file._replace(path=shard.raw), shard) for shard in shards]
    ends = list(accumulate(part.total for part in parts))

    def ids(number: int) -> Ids:
        place = int(np.searchsorted(ends, number, side="right"))
        return parts[place].ids(number - (ends[place - 1] if place else 0))

    return Documents(ends[-1] if ends else 0, ids)


def count_mds(domain: str, file: SourceFile) -> int:
    """Tokens by the index where all samples have one length; else their heads are read too.

    Raises:
        CorpusError: As ``read_mds``.
    """
    total = 0
    for shard in _read_index(domain, file):
        place = shard.names.index(token_field(domain, file, shard.names))
        shape = shard.encodings[place].split(":")[2:]
        if shape:
            total += shard.samples * math.prod(map(int, shape[0].split(",")))
        else:
            found = _samples(domain, file._replace(path=shard.raw), shard)
            total += sum(len(found.ids(number)) for number in range(found.total))
    return total


def shard_files(index: Path) -> list[Path]:
    """The shards that an index names, as they lie there: raw or compressed."""
    shards = [_shard(index.parent, shard) for shard in json.loads(index.read_bytes())["shards"]]
    return [s.packed if s.packed and not s.raw.is_file() else s.raw for s in shards]


def _read_index(domain: str, file: SourceFile) -> list[_Shard]:
    try:
        shards = json.loads(file.path.read_bytes())["shards"]
        other = [s for s in shards if (s["format"], s["version"]) != ("mds", 2)]
        if not other:
            return [_shard(file.path.parent, shard) for shard in shards]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise fault(
            domain,
            file,
            f"is not an index of MDS shards ({type(error).__name__}: {error})",
            "Name a folder that streaming's MDSWriter wrote.",
        ) from None
    raise fault(
        domain,
        file,
        f"has shards of {other[0]['format']} {other[0]['version']}; this mixopt reads mds 2",
        "Write them with streaming's MDSWriter.",
    )


def _shard(folder: Path, plain: dict[str, Any]) -> _Shard:
    packed = plain["zip_data"]
    return _Shard(
        samples=int(plain["samples"]),
        size=int(plain["raw_data"]["bytes"]),
        names=plain["column_names"],
        encodings=plain["column_encodings"],
        sizes=plain["column_sizes"],
        compression=plain["compression"],
        raw=folder / plain["raw_data"]["basename"],
        packed=folder / packed["basename"] if packed else None,
    )


def _bytes_of(domain: str, file: SourceFile, shard: _Shard) -> NDArray[np.uint8]:
    """A whole shard, memory-mapped where it is not compressed."""
    if shard.raw.is_file() or shard.packed is None:
        empty = not shard.raw.stat().st_size
        data = np.empty(0, np.uint8) if empty else np.memmap(shard.raw, mode="r", dtype=np.uint8)
    else:
        kind = str(shard.compression).split(":")[0]
        if kind not in _UNPACK:
            raise fault(
                domain,
                file._replace(path=shard.packed),
                f"is compressed with {kind}; this mixopt reads {', '.join(_UNPACK)}",
                "Unpack the shards beside it.",
            )
        data = np.frombuffer(_UNPACK[kind](shard.packed.read_bytes()), np.uint8)
    if len(data) != shard.size:
        raise fault(
            domain,
            file,
            f"must hold {shard.size:,} bytes as its index says, got {len(data):,}",
            "It was cut short: copy it again.",
        )
    return data


def _samples(domain: str, file: SourceFile, shard: _Shard) -> Documents:
    """The samples of one shard."""
    column = shard.names.index(token_field(domain, file, shard.names))
    decode = _decoder(domain, file, shard.encodings[column])
    data = _bytes_of(domain, file, shard)
    bounds = data[4 : 4 * (shard.samples + 2)].view("<u4").astype(np.int64)
    if data[:4].view("<u4").tolist() != [shard.samples] or bounds[-1] != len(data):
        raise fault(
            domain,
            file,
            f"does not hold the {shard.samples:,} samples that its index says",
            "Copy the folder again.",
        )
    varying = [place for place, size in enumerate(shard.sizes) if not size]

    def ids(number: int) -> Ids:
        sample = data[bounds[number] : bounds[number + 1]]
        told = iter(sample[: 4 * len(varying)].view("<u4").tolist())
        sizes = [size or next(told) for size in shard.sizes]
        start = 4 * len(varying) + sum(sizes[:column])
        return decode(sample[start : start + sizes[column]])

    return Documents(shard.samples, ids)


def _decoder(domain: str, file: SourceFile, encoding: str) -> Callable[[NDArray[np.uint8]], Ids]:
    """How the bytes of a sample's column are ids."""
    kind, _, rest = encoding.partition(":")
    said, _, shape = rest.partition(":")
    if kind == "bytes" and file.source.dtype:
        said, shape = file.source.dtype, "all"
    elif kind != "ndarray" or said.startswith("float"):
        raise fault(
            domain,
            file,
            f"must have a column of ids (ndarray, or bytes with dtype), got {encoding!r}",
            "Set token_field to that of the ids; of a bytes column write `dtype` too.",
        )
    fixed = np.dtype(said).newbyteorder("<") if said else None

    def decode(data: NDArray[np.uint8]) -> Ids:
        dtype = fixed
        if dtype is None:
            dtype, data = _integers(domain, file, int(data[0])), data[1:]
        if not shape:
            # One byte says how many dimensions there are and how wide their lengths are.
            data = data[1 + (int(data[0]) >> 2) * (1 << (int(data[0]) & 3)) :]
        return data.view(dtype)

    return decode


def _integers(domain: str, file: SourceFile, code: int) -> np.dtype[Any]:
    if code not in _TYPES:
        raise fault(
            domain, file, "must hold integers, got an array of another type", "Set token_field."
        )
    return np.dtype(_TYPES[code])
