"""A study's rows as pandas DataFrames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from mixopt.space import Objective, Observation
from mixopt.study.confirm import BASELINE, paired_difference
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
)


def trials_frame(
    objective: Objective,
    records: Sequence[TrialRecord],
    finals: Mapping[str, Mapping[str, float]],
) -> pd.DataFrame:
    """One row per trial; metrics as ``metric/NAME``, weights as ``PHASE/DOMAIN``."""
    rows = [_trial_row(objective, r, finals.get(r.trial.id)) for r in records]
    columns = [*TRIAL_COLUMNS, *dict.fromkeys(c for row in rows for c in row)]
    return pd.DataFrame(rows, columns=list(dict.fromkeys(columns)))


def _trial_row(
    objective: Objective, record: TrialRecord, values: Mapping[str, float] | None
) -> dict[str, Any]:
    trial = record.trial
    row: dict[str, Any] = {
        "trial": trial.id,
        "round": trial.round,
        "kind": str(trial.kind),
        "label": trial.label,
        "state": str(record.state),
        "reason": record.reason,
        "objective": objective.value(values) if values is not None else float("nan"),
        "split": str(trial.split),
        "seed": trial.seed,
        "parameters": trial.fidelity.parameters,
        "tokens": trial.fidelity.tokens,
        "flops": trial.fidelity.flops,
        "seconds": record.seconds if record.state != State.running else None,
        "attempts": record.attempts,
        "upsample_fraction": trial.schedule.upsample_fraction,
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
    """One row per label: mean, standard error, and the paired difference from the baseline."""
    base = next((c for c in confirmations if c.label == BASELINE), None)
    rows = []
    for c in confirmations:
        gap, error = (
            paired_difference(c.values, base.values) if base else (float("nan"), float("nan"))
        )
        rows.append(
            {
                "label": c.label,
                "runs": len(c.values),
                "mean": c.mean,
                "se": c.se,
                "difference": gap,
                "difference_se": error,
            }
        )
    columns = ["label", "runs", "mean", "se", "difference", "difference_se"]
    return pd.DataFrame(rows, columns=columns)
