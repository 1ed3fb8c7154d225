"""What to try next, when to stop, and what to recommend. Arrays only: no storage, no Ray."""

from __future__ import annotations

from mixopt.propose.batch import propose_batch
from mixopt.propose.design import initial_design
from mixopt.propose.distance import schedule_distance
from mixopt.propose.evidence import Evidence
from mixopt.propose.grids import choose_subset
from mixopt.propose.pareto import ParetoPoint, pareto
from mixopt.propose.problem import SurrogateLike
from mixopt.propose.recommend import recommend
from mixopt.propose.recommendation import (
    Confirmation,
    Estimate,
    GuardrailCheck,
    Observed,
    Recommendation,
    TradeOffPoint,
)
from mixopt.propose.remap import remap
from mixopt.propose.stopping import StopDecision, expected_improvement, should_stop

__all__ = [
    "Confirmation",
    "Estimate",
    "Evidence",
    "GuardrailCheck",
    "Observed",
    "ParetoPoint",
    "Recommendation",
    "StopDecision",
    "SurrogateLike",
    "TradeOffPoint",
    "choose_subset",
    "expected_improvement",
    "initial_design",
    "pareto",
    "propose_batch",
    "recommend",
    "remap",
    "schedule_distance",
    "should_stop",
]
