"""What to try next, when to stop, and what to recommend. Arrays only: no storage, no Ray."""

from __future__ import annotations

from mixopt.propose.acquisition.trunk_value import Sharing
from mixopt.propose.batch import propose_batch
from mixopt.propose.candidates.distance import NEAR, schedule_distance
from mixopt.propose.design.initial_design import initial_design
from mixopt.propose.design.matched_mixture import matched_mixture, matched_schedule
from mixopt.propose.evidence import Evidence
from mixopt.propose.fidelity_choice import choose_fidelities
from mixopt.propose.recommend import recommend
from mixopt.propose.recommendation import (
    Confirmation,
    Differences,
    Estimate,
    GuardrailCheck,
    Observed,
    RankAgreement,
    Recommendation,
    TradeOffPoint,
)
from mixopt.propose.stopping import StopDecision, expected_regret, should_stop

__all__ = [
    "NEAR",
    "Confirmation",
    "Differences",
    "Estimate",
    "Evidence",
    "GuardrailCheck",
    "Observed",
    "RankAgreement",
    "Recommendation",
    "Sharing",
    "StopDecision",
    "TradeOffPoint",
    "choose_fidelities",
    "expected_regret",
    "initial_design",
    "matched_mixture",
    "matched_schedule",
    "propose_batch",
    "recommend",
    "schedule_distance",
    "should_stop",
]
