"""mixopt: an optimizer of training-data mixtures for language models."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mixopt.analysis.from_tables import fit
    from mixopt.errors import MixoptError
    from mixopt.service.client import connect
    from mixopt.space import (
        Domain,
        Fidelity,
        Geometry,
        Guardrail,
        LearningRate,
        Metric,
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

__all__ = [
    "CallableTrainer",
    "CommandTrainer",
    "Domain",
    "Fidelity",
    "Geometry",
    "Guardrail",
    "LearningRate",
    "Metric",
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
    "fit",
    "geometry_of",
]

#: Rooms of those names that are not of ``mixopt.space``.
_ELSEWHERE = dict.fromkeys(
    ("CallableTrainer", "CommandTrainer", "Study", "TrialBudget"), "mixopt.study"
) | {
    "MixoptError": "mixopt.errors",
    "connect": "mixopt.service.client",
    "fit": "mixopt.analysis.from_tables",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: `import mixopt` must not wait for torch.
    if name not in __all__:
        raise AttributeError(f"module 'mixopt' has no attribute {name!r}")
    return getattr(importlib.import_module(_ELSEWHERE.get(name, "mixopt.space")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
