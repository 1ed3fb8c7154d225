"""Parametric laws as pure functions with analytic derivatives, and one robust fitter."""

from mixopt.laws.fitter import LawFit, fit_law
from mixopt.laws.mixing import (
    LAWS,
    M1,
    M2,
    M3,
    M4,
    EffectiveData,
    ImplicitDomains,
    Law,
    LogLinear,
    Power,
)
from mixopt.laws.phases import effective_mixture, position_weights
from mixopt.laws.shared import SharedFit, SharedShape, fit_shared, mass_features, shared_value
from mixopt.laws.units import Units

__all__ = [
    "LAWS",
    "M1",
    "M2",
    "M3",
    "M4",
    "EffectiveData",
    "ImplicitDomains",
    "Law",
    "LawFit",
    "LogLinear",
    "Power",
    "SharedFit",
    "SharedShape",
    "Units",
    "effective_mixture",
    "fit_law",
    "fit_shared",
    "mass_features",
    "position_weights",
    "shared_value",
]
