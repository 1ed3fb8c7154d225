"""How proxies are trained: everything but the trial itself."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, field_validator

from mixopt.errors import SpaceError, TrialError
from mixopt.space import Frozen, LearningRate

Fraction = Annotated[float, Field(gt=0, le=1)]


class ProxySettings(Frozen):
    """Settings shared by all proxies of a study.

    Attributes:
        context: Tokens per sequence.
        batch: Sequences per step.
        learning_rate: Peak for rules that name none. It is that of embedding and gains; matrices
            train at a share of it that falls with width and depth (`matrix_rate`), so that one
            peak serves several sizes.
        schedule: Rule over the whole run, where a trial's schedule has none.
        weight_decay: Of matrices; embedding and gains are not decayed.
        clip: Largest gradient norm.
        betas: Of AdamW.
        rungs: Shares of the training tokens at which validation is measured; the end always is.
        evaluation_tokens: Tokens per domain at each measurement on the validation split, at most;
            windows of one context, spread evenly over the split, the same at every rung and in
            every trial. Few windows give the difference of two mixtures an error that no further
            seed lowers. The confirmation split is read whole.
        branch_points: Shares of the training tokens at which a checkpoint is kept besides the
            ones where phases meet.
        device: ``auto`` takes CUDA where there is one.
        dtype: Of the matrix products. ``auto`` takes bfloat16 on CUDA, and on a CPU on which a
            probe of the proxy's own steps shows it to be faster with the same losses.
        threads: CPU threads per trial; small proxies are slower on two than on one.
    """

    context: Annotated[int, Field(ge=2)] = 128
    batch: Annotated[int, Field(ge=1)] = 8
    learning_rate: Annotated[float, Field(gt=0)] = 1e-2
    schedule: LearningRate = LearningRate(warmup=0.05, decay=0.3)
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    clip: Annotated[float, Field(gt=0)] = 1.0
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        0.8,
        0.95,
    )
    rungs: tuple[Fraction, ...] = (0.5, 1.0)
    evaluation_tokens: Annotated[int, Field(ge=1)] = 32_768
    branch_points: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: Annotated[int, Field(ge=1)] = 1

    @field_validator("rungs")
    @classmethod
    def _rising(cls, rungs: tuple[float, ...]) -> tuple[float, ...]:
        if list(rungs) != sorted(set(rungs)):
            raise SpaceError(
                f"rungs must rise and not repeat; got {', '.join(f'{r:g}' for r in rungs)}",
                "write them in order, such as [0.25, 0.5, 0.75, 1]",
            )
        return rungs

    def resolved_device(self) -> torch.device:
        """The device to train on.

        Raises:
            TrialError: If CUDA was asked for and there is none.
        """
        available = torch.cuda.is_available()
        if self.device == "cuda" and not available:
            raise TrialError(
                "the proxy's device must be available; 'cuda' was asked for and there is none",
                "set device: auto, or give the trial a GPU in resources_per_trial",
            )
        return torch.device("cuda" if available and self.device != "cpu" else "cpu")


def device_names() -> list[str]:
    """Names of the GPUs that proxies can train on, with their memory; none on a CPU alone."""
    found = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return [f"{each.name}, {each.total_memory / 2**30:.0f} GiB" for each in found]
