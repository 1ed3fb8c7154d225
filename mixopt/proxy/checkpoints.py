"""Checkpoints by the hash of everything they depend on, so that endings branch off a trunk."""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mixopt.errors import TrialError

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

    def longest(self, keys: list[str]) -> int | None:
        """The last place of ``keys`` that is stored; None where none is."""
        if not self.folder.is_dir():
            return None
        stored = {path.stem for path in self.folder.glob(f"*{_SUFFIX}")}
        return max((step for step, key in enumerate(keys) if key in stored), default=None)

    def save(self, key: str, snapshot: Snapshot) -> None:
        """Keep a snapshot; several writers of one key all write the same, none half of it.

        Raises:
            TrialError: If the folder cannot be written to.
        """
        if self._path(key).exists():
            return
        try:
            self._write(self._path(key), snapshot)
        except OSError as error:
            raise TrialError(
                f"the checkpoint folder {self.folder} must be writable: {error.strerror}",
                "free some space, or choose another folder",
            ) from error

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

    def load(self, key: str, device: torch.device) -> Snapshot:
        """The snapshot of a key.

        Raises:
            TrialError: If its file cannot be read.
        """
        path = self._path(key)
        try:
            return Snapshot(**torch.load(path, map_location=device, weights_only=True))
        # A damaged file raises anything from EOFError to UnpicklingError.
        except Exception as error:
            raise TrialError(
                f"the checkpoint {path} must be readable: {error}",
                "delete the file; the trunk is then trained again",
            ) from error
