"""Surrogates: how losses respond to schedules, with intervals one can trust."""

from mixopt.surrogate.ensemble.surrogate import (
    Prediction,
    Surrogate,
    SurrogateSettings,
    fit_surrogate,
)
from mixopt.surrogate.multifidelity.scale_surrogate import (
    Agreement,
    ScaleSurrogate,
    fidelity_agreement,
    fit_scale_surrogate,
)
from mixopt.surrogate.multifidelity.target_prediction import (
    TargetPrediction,
    predict_target,
    rank_agreement,
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
