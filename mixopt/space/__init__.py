"""Frozen values (mixture, schedule, trial, search space), and the geometry of a search space."""

from __future__ import annotations

from mixopt.space.geometry.geometry import Geometry, geometry_of
from mixopt.space.geometry.layout import Layout
from mixopt.space.geometry.polytope import Polytope
from mixopt.space.learning_rate import LearningRate
from mixopt.space.learning_rate_space import LearningRateSpace, RateRange
from mixopt.space.metric import Metric, MetricKind
from mixopt.space.mixture import Domain, Mixture
from mixopt.space.model import Frozen
from mixopt.space.objective import Guardrail, Objective
from mixopt.space.phase_space import FractionGrid, GroupBound, PhaseSpace
from mixopt.space.rounding import largest_remainder
from mixopt.space.schedule import Fidelity, Phase, Schedule
from mixopt.space.search_space import SearchSpace
from mixopt.space.trial import Kind, Observation, Report, Split, Trainer, Trial
from mixopt.space.yamlfile import load_yaml, parse_yaml, validate_node, validate_yaml

__all__ = [
    "Domain",
    "Fidelity",
    "FractionGrid",
    "Frozen",
    "Geometry",
    "GroupBound",
    "Guardrail",
    "Kind",
    "Layout",
    "LearningRate",
    "LearningRateSpace",
    "Metric",
    "MetricKind",
    "Mixture",
    "Objective",
    "Observation",
    "Phase",
    "PhaseSpace",
    "Polytope",
    "RateRange",
    "Report",
    "Schedule",
    "SearchSpace",
    "Split",
    "Trainer",
    "Trial",
    "geometry_of",
    "largest_remainder",
    "load_yaml",
    "parse_yaml",
    "validate_node",
    "validate_yaml",
]
