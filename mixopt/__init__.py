"""mixopt: an optimizer of training-data mixtures for language models."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mixopt.errors import MixoptError
    from mixopt.service.client import connect
    from mixopt.space import (
        Domain,
        Fidelity,
        Geometry,
        Guardrail,
        LearningRate,
        Mixture,
        Objective,
        Phase,
        PhaseSpace,
        Schedule,
        SearchSpace,
        Trial,
        geometry_of,
    )
    from mixopt.study import CallableTrainer, CommandTrainer, Study, TrialBudget

_HOME = {
    "mixopt.errors": ("MixoptError",),
    "mixopt.service.client": ("connect",),
    "mixopt.space": (
        "Domain",
        "Fidelity",
        "Geometry",
        "Guardrail",
        "LearningRate",
        "Mixture",
        "Objective",
        "Phase",
        "PhaseSpace",
        "Schedule",
        "SearchSpace",
        "Trial",
        "geometry_of",
    ),
    "mixopt.study": ("CallableTrainer", "CommandTrainer", "Study", "TrialBudget"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "CallableTrainer",
    "CommandTrainer",
    "Domain",
    "Fidelity",
    "Geometry",
    "Guardrail",
    "LearningRate",
    "MixoptError",
    "Mixture",
    "Objective",
    "Phase",
    "PhaseSpace",
    "Schedule",
    "SearchSpace",
    "Study",
    "Trial",
    "TrialBudget",
    "connect",
    "geometry_of",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use: `import mixopt` must not wait for torch.
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'mixopt' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])
