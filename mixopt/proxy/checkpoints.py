"""Checkpoints by the hash of everything they depend on, so that endings branch off a trunk."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

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
    """A folder of snapshots that many processes may read and write at once.

    Args:
        folder: Made at the first save.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def longest(self, keys: list[str], device: torch.device) -> Snapshot | None:
        """The snapshot of the last of ``keys`` that can be read; None where there is none.

        A file that is damaged or half written is removed with a warning: the folder is a cache,
        and what is missing in it is trained again.

        Args:
            keys: Of a run's prefixes, the shortest first.
            device: Where the tensors go.
        """
        if not self.folder.is_dir():
            return None
        stored = {path.stem for path in self.folder.glob(f"*{_SUFFIX}")}
        found = (self._read(key, device) for key in reversed(keys) if key in stored)
        return next((snapshot for snapshot in found if snapshot is not None), None)

    def save(self, key: str, snapshot: Snapshot) -> None:
        """Keep a snapshot, whole or not at all; one that cannot be kept is a warning.

        Several writers of one key all write the same.
        """
        path = self._path(key)
        if path.exists():
            return
        try:
            self._write(path, snapshot)
        # On a full disk torch raises a RuntimeError of its own.
        except (OSError, RuntimeError) as error:
            _LOG.warning("the checkpoint %s is not kept: %s; free some space", path, error)

    def _write(self, path: Path, snapshot: Snapshot) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=f".{path.stem[:12]}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                torch.save(asdict(snapshot), stream)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _read(self, key: str, device: torch.device) -> Snapshot | None:
        path = self._path(key)
        try:
            # Torch does not compare the checksums that it writes.
            with zipfile.ZipFile(path) as archive:
                if (bad := archive.testzip()) is not None:
                    raise ValueError(f"the checksum of {bad} is wrong")
            return Snapshot(**torch.load(path, map_location=device, weights_only=True))
        except torch.OutOfMemoryError:
            raise
        # A damaged file raises anything from EOFError to UnpicklingError.
        except Exception as error:
            _LOG.warning("the checkpoint %s cannot be read and is removed: %s", path, error)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
