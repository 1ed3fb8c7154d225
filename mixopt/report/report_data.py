"""Everything a report shows, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mixopt.space import Fidelity, Objective, SearchSpace

if TYPE_CHECKING:
    from mixopt.propose import Evidence, Recommendation
    from mixopt.study import Study
    from mixopt.surrogate import ScaleSurrogate, Surrogate

PREDICTION_COLUMNS = ("trial", "observed", "mean", "low", "high")


@dataclass(frozen=True)
class ReportData:
    """What ``write_report`` needs; no live study.

    Attributes:
        name: Of the study.
        space: What was searched.
        objective: What was minimised.
        recommendation: The answer; None where there is none yet.
        trials: One row per trial, in order: ``trial``, ``round``, ``kind``, ``label``, ``state``,
            ``reason``, ``objective``, ``tokens``, ``flops``, ``seconds``, ...
        observations: One row per stored number: ``trial``, ``tokens``, ``metric``, ``value``.
        predictions: Objective of finished search trials, ``observed`` against predicted ``mean``,
            ``low``, ``high`` (95 % interval of one observation).
        predictions_how: ``out of fold`` or ``in sample``.
        fidelity: Of the trials.
        stop_reason: Why the search stopped.
        budget: Limits by name; those not set are left out.
        notes: Anything else to tell.
    """

    name: str
    space: SearchSpace
    objective: Objective
    recommendation: Recommendation | None
    trials: pd.DataFrame
    observations: pd.DataFrame = field(default_factory=pd.DataFrame)
    predictions: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=list(PREDICTION_COLUMNS))
    )
    predictions_how: str = "in sample"
    fidelity: Fidelity | None = None
    stop_reason: str | None = None
    budget: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def report_data(study: Study, recommendation: Recommendation | None = None) -> ReportData:
    """Collect a report's values from a study.

    Args:
        study: Open in its storage.
        recommendation: The answer, where it is already known; else it is asked for.

    Raises:
        StudyError: If the study has too few finished trials for a recommendation.
    """
    answer = study.recommend() if recommendation is None else recommendation
    evidence, surrogate = study.learned()
    predictions, how = _predictions(evidence, surrogate, study.objective)
    budget = study.budget.model_dump(exclude_none=True) if study.budget is not None else {}
    return ReportData(
        name=study.name,
        space=study.space,
        objective=study.objective,
        recommendation=answer,
        trials=study.trials(),
        observations=study.observations(),
        predictions=predictions,
        predictions_how=how,
        fidelity=study.fidelity,
        stop_reason=study.stop_reason,
        budget=budget,
    )


def _predictions(
    evidence: Evidence, surrogate: Surrogate | ScaleSurrogate, objective: Objective
) -> tuple[pd.DataFrame, str]:
    """The objective's mean and interval per trial; the metrics' errors are taken as independent."""
    found: Any = surrogate.out_of_fold
    how = "in sample" if found is None else "out of fold"
    found = surrogate.predict(evidence.X) if found is None else found
    weights = objective.coefficients(list(evidence.metrics))
    mean = found.mean @ weights
    sd = np.sqrt(found.observation_sd**2 @ weights**2)
    frame = pd.DataFrame(
        {
            "trial": list(evidence.ids),
            "observed": evidence.Y @ weights,
            "mean": mean,
            "low": mean - 1.96 * sd,
            "high": mean + 1.96 * sd,
        }
    )
    return frame, how
