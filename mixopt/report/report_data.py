"""Everything a report shows, as plain values."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixopt import __version__
from mixopt.analysis.token_worth import TokenWorth, study_token_worth
from mixopt.errors import StudyError
from mixopt.space import Fidelity, Objective, SearchSpace
from mixopt.study.results.estimates import Answer, answer_of, of_observations
from mixopt.study.storage import State

if TYPE_CHECKING:
    from mixopt.analysis.responses import Responses
    from mixopt.propose import Evidence, Recommendation
    from mixopt.study import Study
    from mixopt.surrogate import SurrogateModel

PREDICTION_COLUMNS = ("trial", "value", "observed", "mean", "low", "high")


@dataclass(frozen=True)
class ReportData:
    """What ``write_report`` needs; no live study.

    Attributes:
        name: Name of the study.
        space: What was searched.
        objective: What was minimised.
        recommendation: The answer; None where there is none yet.
        trials: One row per trial, in order: ``trial``, ``round``, ``kind``, ``label``, ``state``,
            ``reason``, ``objective``, ``split``, ``parameters``, ``tokens``, ``flops``,
            ``seconds``, ...
        predictions: One row per finished search trial: the ``value`` that the surrogate learned
            from, whether it was ``observed`` (else it is extrapolated to the target), and its
            predicted ``mean``, ``low``, ``high`` (95 % interval of one observation).
        predictions_how: ``out of fold`` or ``in sample``.
        responses: What was learned of the weights around the recommendation; None without one.
        worth: Gain in tokens; None where it is not known.
        no_worth: Reason for that.
        fidelity: Size of the trials, the highest where they differ.
        stop_reason: Why the search stopped.
        budget: Limits by name; those not set are left out.
        seed: Seed of every random draw of the study.
        version: Version of mixopt that wrote this.
        date: Day on which it was written.
    """

    name: str
    space: SearchSpace
    objective: Objective
    recommendation: Recommendation | None
    trials: pd.DataFrame
    predictions: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=list(PREDICTION_COLUMNS))
    )
    predictions_how: str = "in sample"
    responses: Responses | None = None
    worth: TokenWorth | None = None
    no_worth: str = "no run has finished"
    fidelity: Fidelity | None = None
    stop_reason: str | None = None
    budget: Mapping[str, float] = field(default_factory=dict)
    seed: int | None = None
    version: str = __version__
    date: datetime.date = field(default_factory=datetime.date.today)

    @property
    def answer(self) -> Answer | None:
        """Estimates of the recommendation on one scale; None where there is none."""
        return None if self.recommendation is None else answer_of(self.recommendation)


def report_data(
    study: Study,
    recommendation: Recommendation | None = None,
    domains: Sequence[str] | None = None,
) -> ReportData:
    """Collect a report's values from a study.

    Args:
        study: Open in its storage.
        recommendation: The answer, where it is already known; else it is asked for.
        domains: The three of the ternary map; None for the largest that can move.

    Raises:
        StudyError: If the study has too few finished trials for a recommendation.
    """
    from mixopt.analysis.responses import responses
    from mixopt.propose.problem import Problem

    answer = study.recommend() if recommendation is None else recommendation
    every, of_every = study.learned(extra=True)
    around = Problem.of(study.space, study.objective, of_every, every)
    evidence, surrogate = study.learned()
    predictions, how = _predictions(study, evidence, surrogate)
    worth, no_worth = token_worth_or_reason(study, answer)
    budget = study.budget.model_dump(exclude_none=True) if study.budget is not None else {}
    return ReportData(
        name=study.name,
        space=study.space,
        objective=study.objective,
        recommendation=answer,
        trials=study.trials(),
        predictions=predictions,
        predictions_how=how,
        responses=responses(around, answer.schedule, domains),
        worth=worth,
        no_worth=no_worth,
        fidelity=study.fidelity,
        stop_reason=study.stop_reason,
        budget=budget,
        seed=study.seed,
    )


def token_worth_or_reason(
    study: Study, recommendation: Recommendation
) -> tuple[TokenWorth | None, str]:
    """The gain in tokens, or why it is not known."""
    finished = [r.trial for r in study.records() if r.state == State.finished]
    try:
        found = study_token_worth(
            finished,
            study.store.observations(study.id),
            study.objective,
            recommendation.schedule,
            study.space.baseline_schedule,
        )
    except StudyError as error:
        return None, error.message
    return found, ""


def _predictions(
    study: Study, evidence: Evidence, surrogate: SurrogateModel
) -> tuple[pd.DataFrame, str]:
    """The objective's predicted mean and interval per trial, beside what was learned from."""
    target = study.space.target if study.config.fidelities else None
    sizes = {r.trial.id: r.trial.fidelity for r in study.records()}
    goal = target or study.fidelity
    observed = np.array([not study.config.fidelities or sizes[i] == goal for i in evidence.ids])
    return predictions_of(study.space, study.objective, surrogate, evidence, observed)


def predictions_of(
    space: SearchSpace,
    objective: Objective,
    surrogate: SurrogateModel,
    evidence: Evidence,
    observed: NDArray[np.bool_],
) -> tuple[pd.DataFrame, str]:
    """The objective predicted for every run, and how: out of fold or in sample.

    Args:
        space: What was searched.
        objective: What was minimised.
        surrogate: Fitted to the evidence.
        evidence: ``n`` runs; those of which the end is predicted are not shown.
        observed: ``n``, whether each was made at the fidelity that is spoken of.
    """
    from mixopt.propose.problem import Problem

    problem = Problem.of(space, objective, surrogate, evidence)
    found: Any = surrogate.out_of_fold
    how = "in sample" if found is None else "out of fold"
    if found is None:
        inside = surrogate.predict(evidence.X)
        own = np.maximum(inside.observation_sd**2 - np.diagonal(problem.level), 0.0)
        found = replace(inside, observation_sd=np.sqrt(own))
    estimates = of_observations(problem, found, observed)
    frame = pd.DataFrame(
        {
            "trial": list(evidence.ids),
            "value": problem.sign * problem.y,
            "observed": observed,
            "mean": [e.value for e in estimates],
            "low": [e.low for e in estimates],
            "high": [e.high for e in estimates],
        }
    )
    # A predicted end is nothing to hold a prediction against.
    return frame[evidence.measured].reset_index(drop=True), how
