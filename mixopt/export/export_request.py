"""What a user asks of one export, on the command line and in a study file alike."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from mixopt.errors import ExportError, SpaceError
from mixopt.export.export_plan import Provenance
from mixopt.export.registry import exporter_of
from mixopt.space import Frozen, LearningRate

Positive = Annotated[int, Field(gt=0)]


class ExportRequest(Frozen):
    """One export.

    Attributes:
        to: The trainer's name; aliases become it.
        tokens: Training tokens of the target run; None for those of the schedule or the space.
        sequence_length: The target's tokens per sequence.
        batch: The target's sequences per step.
        seed: For the trainer's shuffling.
        paths: Domain to path.
        learning_rate: The target's own peak, or its rule over the run instead of the trials'.
        placeholders: Whether ``PATH_OF_<domain>`` stands in for a path that is not known.
        tokenizer: The target's tokenizer.json; refused where it is not the study's.
    """

    to: str
    tokens: Positive | None = None
    sequence_length: Positive | None = None
    batch: Positive | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    paths: dict[str, str] = {}
    learning_rate: LearningRate | Annotated[float, Field(gt=0)] | None = None
    placeholders: bool = False
    tokenizer: str | None = None

    @field_validator("to")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            return exporter_of(value).name
        except ExportError as error:
            # A SpaceError keeps its place in a study file.
            raise SpaceError(error.message, error.hint) from None

    def over(self, **defaults: Any) -> ExportRequest:
        """The request with values for what it leaves open; paths are joined."""
        given = {name: getattr(self, name) for name in defaults}
        known = {n: d if given[n] is None else given[n] for n, d in defaults.items()}
        if "paths" in defaults:
            known["paths"] = {**defaults["paths"], **self.paths}
        return self.model_copy(update=known)

    def require_same_tokenizer(self, provenance: Provenance) -> None:
        """Shares of tokens mean something under one tokenizer only.

        Raises:
            ExportError: If the target's tokenizer is not the study's, or cannot be read.
        """
        known = provenance.tokenizer_fingerprint
        if self.tokenizer is None or known is None:
            return
        try:
            found = hashlib.sha256(Path(self.tokenizer).read_bytes()).hexdigest()
        except OSError as error:
            raise ExportError(f"{self.tokenizer} cannot be read: {error}", "check it") from None
        if found != known:
            raise ExportError(
                f"the target must use the tokenizer in which the weights are counted, "
                f"{known[:12]}...; {self.tokenizer} is {found[:12]}...",
                "a share of tokens is another share under another tokenizer: recount it first",
            )
