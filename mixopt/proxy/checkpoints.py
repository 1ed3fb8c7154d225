"""Checkpoints by the hash of everything they depend on, so that endings branch off a trunk."""

from __future__ import annotations

import contextlib
import io
import logging
import uuid
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

_LOG = logging.getLogger(__name__)
_SUFFIX = ".pt"


@dataclass
class Snapshot:
    """A run's state after a step.

    Attributes:
        step: Steps done.
        model: Weights by name.
        optimizer: State of AdamW.
        losses: Training losses since the last rung (``k``).
        measured: Rungs so far: tokens, and nats/token per domain.
    """

    step: int
    model: dict[str, Any]
    optimizer: dict[str, Any]
    losses: torch.Tensor
    measured: list[tuple[int, dict[str, float]]]


class CheckpointStore:
    """Snapshots in a place that many processes may read and write at once.

    It is a cache: what is missing or damaged in it is trained again, and a place that cannot be
    reached costs a warning.

    Args:
        place: A folder, made at the first save, or a URI as PyArrow takes it, such as
            ``s3://bucket/trunks`` or ``gs://bucket/trunks``.
    """

    def __init__(self, place: str | Path) -> None:
        self.place = str(place)

    def _opened(self) -> tuple[FileSystem, str]:
        if "://" in self.place:
            found: tuple[FileSystem, str] = FileSystem.from_uri(self.place)
            return found
        return LocalFileSystem(), self.place

    def longest(self, keys: list[str], device: torch.device) -> Snapshot | None:
        """The snapshot of the last of ``keys`` that can be read; None where there is none.

        A file that is damaged or half written is removed with a warning.

        Args:
            keys: Of a run's prefixes, the shortest first.
            device: Where the tensors go.
        """
        try:
            files, folder = self._opened()
            held = files.get_file_info(FileSelector(folder, allow_not_found=True))
        # PyArrow's errors are Python's own; what a cloud refuses is an OSError.
        except (OSError, ValueError) as error:
            _LOG.warning("no checkpoint is looked for in %s: %s", self.place, error)
            return None
        stored = {Path(file.path).stem: file.path for file in held if file.path.endswith(_SUFFIX)}
        found = (_read(files, stored[key], device) for key in reversed(keys) if key in stored)
        return next((snapshot for snapshot in found if snapshot is not None), None)

    def save(self, key: str, snapshot: Snapshot) -> None:
        """Keep a snapshot, whole or not at all; one that cannot be kept is a warning.

        Several writers of one key all write the same.
        """
        name = f"{key}{_SUFFIX}"
        try:
            files, folder = self._opened()
            if files.get_file_info(f"{folder}/{name}").type == FileType.NotFound:
                _write(files, folder, name, snapshot)
        # On a full disk torch raises a RuntimeError of its own.
        except (OSError, RuntimeError, ValueError) as error:
            _LOG.warning(
                "the checkpoint %s/%s is not kept: %s; free some space", self.place, name, error
            )


def _write(files: FileSystem, folder: str, name: str, snapshot: Snapshot) -> None:
    packed = io.BytesIO()
    torch.save(asdict(snapshot), packed)
    files.create_dir(folder)
    part = f"{folder}/.{name[:12]}.{uuid.uuid4().hex}"
    try:
        with files.open_output_stream(part) as stream:
            stream.write(packed.getbuffer())
        files.move(part, f"{folder}/{name}")
    except BaseException:
        with contextlib.suppress(OSError):
            files.delete_file(part)
        raise


def _read(files: FileSystem, path: str, device: torch.device) -> Snapshot | None:
    try:
        with files.open_input_file(path) as stream:
            packed = io.BytesIO(stream.read())
        # Torch does not compare the checksums that it writes.
        with zipfile.ZipFile(packed) as archive:
            if (bad := archive.testzip()) is not None:
                raise ValueError(f"the checksum of {bad} is wrong")
        packed.seek(0)
        return Snapshot(**torch.load(packed, map_location=device, weights_only=True))
    except torch.OutOfMemoryError:
        raise
    # A damaged file raises anything from EOFError to UnpicklingError.
    except Exception as error:
        _LOG.warning("the checkpoint %s cannot be read and is removed: %s", path, error)
        with contextlib.suppress(OSError):
            files.delete_file(path)
        return None
