"""Parametric laws as pure functions with analytic derivatives, and one robust fitter."""

from mixopt.laws.curve_ends import CurveEnds, Likely, fit_curve_ends
from mixopt.laws.fitter import LawFit, fit_law
from mixopt.laws.mixing import LAWS, SHARED, known_laws
from mixopt.laws.phases import effective_mixture, position_weights, rate_fractions
from mixopt.laws.repetition import effective_weights, worth_per_token
from mixopt.laws.shared import SharedFit, SharedShape, fit_shared, mass_features, shared_value
from mixopt.laws.units import Units

__all__ = [
    "LAWS",
    "SHARED",
    "CurveEnds",
    "LawFit",
    "Likely",
    "SharedFit",
    "SharedShape",
    "Units",
    "effective_mixture",
    "effective_weights",
    "fit_curve_ends",
    "fit_law",
    "fit_shared",
    "known_laws",
    "mass_features",
    "position_weights",
    "rate_fractions",
    "shared_value",
    "worth_per_token",
]
