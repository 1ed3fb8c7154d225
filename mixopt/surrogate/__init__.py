"""Surrogates: how losses respond to schedules, with intervals one can trust."""

from mixopt.surrogate.fidelities import (
    Agreement,
    ScaleSurrogate,
    fidelity_agreement,
    fit_scale_surrogate,
)
from mixopt.surrogate.scale import TargetPrediction, predict_target, rank_agreement
from mixopt.surrogate.surrogate import (
    Prediction,
    Surrogate,
    SurrogateSettings,
    fit_surrogate,
)

__all__ = [
    "Agreement",
    "Prediction",
    "ScaleSurrogate",
    "Surrogate",
    "SurrogateSettings",
    "TargetPrediction",
    "fidelity_agreement",
    "fit_scale_surrogate",
    "fit_surrogate",
    "predict_target",
    "rank_agreement",
]
