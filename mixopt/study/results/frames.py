"""A study's rows as pandas DataFrames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from mixopt.space import Observation
from mixopt.study.state import StudyState
from mixopt.study.storage import State, TrialRecord

if TYPE_CHECKING:
    from mixopt.propose import Confirmation

TRIAL_COLUMNS = (
    "trial",
    "round",
    "kind",
    "label",
    "state",
    "reason",
    "objective",
    "split",
    "seed",
    "parameters",
    "tokens",
    "flops",
    "seconds",
    "attempts",
    "upsample_fraction",
    "predicted_end",
    "predicted_end_sd",
)


def trials_frame(state: StudyState) -> pd.DataFrame:
    """One row per trial; metrics as ``metric/NAME``, weights as ``PHASE/DOMAIN``.

    A trial that ended early has no objective, but ``predicted_end`` where that can be told.
    """
    rows = [_trial_row(state, r, state.finals.get(r.trial.id)) for r in state.records]
    columns = [*TRIAL_COLUMNS, *dict.fromkeys(c for row in rows for c in row)]
    return pd.DataFrame(rows, columns=list(dict.fromkeys(columns)))


def _trial_row(
    state: StudyState, record: TrialRecord, values: Mapping[str, float] | None
) -> dict[str, Any]:
    trial, early = record.trial, state.early_ends.get(record.trial.id)
    row: dict[str, Any] = {
        "trial": trial.id,
        "round": trial.round,
        "kind": str(trial.kind),
        "label": trial.label,
        "state": str(record.state),
        "reason": record.reason,
        "objective": state.objective.value(values) if values is not None else float("nan"),
        "split": str(trial.split),
        "seed": trial.seed,
        "parameters": trial.fidelity.parameters,
        "tokens": trial.fidelity.tokens,
        "flops": state.settings.flops(trial.fidelity),
        "seconds": record.seconds if record.state != State.running else None,
        "attempts": record.attempts,
        "upsample_fraction": trial.schedule.upsample_fraction,
        "predicted_end": early.objective if early else float("nan"),
        "predicted_end_sd": early.objective_sd if early else float("nan"),
    }
    row |= {f"metric/{name}": value for name, value in (values or {}).items()}
    for phase in trial.schedule.phases:
        row |= {f"{phase.name}/{name}": weight for name, weight in phase.mixture.items()}
    return row


def observations_frame(observations: Sequence[Observation]) -> pd.DataFrame:
    """One row per stored number."""
    columns = ["trial", "tokens", "metric", "value", "split"]
    return pd.DataFrame([o.model_dump(mode="json") for o in observations], columns=columns)


def confirmations_frame(confirmations: Sequence[Confirmation]) -> pd.DataFrame:
    """One row per label: mean with its interval, and the paired difference from the baseline."""
    columns = ["label", "runs", "mean", "low", "high"]
    ends = ["difference", "difference_se", "difference_low", "difference_high"]
    rows = [
        [c.label, len(c.values), c.mean, c.low, c.high]
        + ([c.effect.mean, c.effect.se, c.effect.low, c.effect.high] if c.effect else [None] * 4)
        for c in confirmations
    ]
    frame = pd.DataFrame(rows, columns=[*columns, *ends])
    return frame.astype(dict.fromkeys(["mean", "low", "high", *ends], float))
