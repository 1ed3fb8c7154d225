"""Surrogates: how losses respond to schedules, with intervals one can trust."""

from mixopt.surrogate.surrogate import (
    Prediction,
    Surrogate,
    SurrogateSettings,
    fit_surrogate,
)

__all__ = ["Prediction", "Surrogate", "SurrogateSettings", "fit_surrogate"]
