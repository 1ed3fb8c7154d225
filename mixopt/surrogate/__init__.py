"""Surrogates: how losses respond to schedules, with intervals one can trust."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mixopt.surrogate.protocol import Prediction, SurrogateModel, SurrogateRow

if TYPE_CHECKING:
    from mixopt.surrogate.ensemble.surrogate import Surrogate, SurrogateSettings, fit_surrogate
    from mixopt.surrogate.metrics import MetricSurrogate, fit_metrics
    from mixopt.surrogate.multifidelity.fidelity_rows import FidelityRows, RunRule
    from mixopt.surrogate.multifidelity.scale_surrogate import (
        Agreement,
        ScaleSurrogate,
        fidelity_agreement,
        fit_scale_surrogate,
    )
    from mixopt.surrogate.multifidelity.target_prediction import TargetPrediction, predict_target

_HOME = {
    "ensemble.surrogate": ("Surrogate", "SurrogateSettings", "fit_surrogate"),
    "metrics": ("MetricSurrogate", "fit_metrics"),
    "multifidelity.fidelity_rows": ("FidelityRows", "RunRule"),
    "multifidelity.scale_surrogate": (
        "Agreement",
        "ScaleSurrogate",
        "fidelity_agreement",
        "fit_scale_surrogate",
    ),
    "multifidelity.target_prediction": ("TargetPrediction", "predict_target"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Agreement",
    "FidelityRows",
    "MetricSurrogate",
    "Prediction",
    "RunRule",
    "ScaleSurrogate",
    "Surrogate",
    "SurrogateModel",
    "SurrogateRow",
    "SurrogateSettings",
    "TargetPrediction",
    "fidelity_agreement",
    "fit_metrics",
    "fit_scale_surrogate",
    "fit_surrogate",
    "predict_target",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use: who reads a recommendation or holds the protocol needs no BoTorch.
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'mixopt.surrogate' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mixopt.surrogate.{_MODULE_OF[name]}"), name)
