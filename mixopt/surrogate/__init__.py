"""Surrogates: how losses respond to schedules, with intervals one can trust."""

from mixopt.surrogate.scale import TargetPrediction, predict_target, rank_agreement
from mixopt.surrogate.surrogate import (
    Prediction,
    Surrogate,
    SurrogateSettings,
    fit_surrogate,
)

__all__ = [
    "Prediction",
    "Surrogate",
    "SurrogateSettings",
    "TargetPrediction",
    "fit_surrogate",
    "predict_target",
    "rank_agreement",
]
