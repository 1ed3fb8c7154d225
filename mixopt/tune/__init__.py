"""Trials on Ray Tune: rounds, workers, progress, and a searcher for Tuners of your own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mixopt.tune.progress import Progress
from mixopt.tune.run_summary import RunSummary
from mixopt.tune.runner import run_rounds, run_trials

if TYPE_CHECKING:
    from mixopt.tune.early_stop import EarlyStop
    from mixopt.tune.mixture_search import MixtureSearch, schedule_of

__all__ = [
    "EarlyStop",
    "MixtureSearch",
    "Progress",
    "RunSummary",
    "run_rounds",
    "run_trials",
    "schedule_of",
]


def __getattr__(name: str) -> Any:
    # Subclasses of Ray's classes cannot be made without importing Ray.
    if name == "EarlyStop":
        from mixopt.tune.early_stop import EarlyStop

        return EarlyStop
    if name in ("MixtureSearch", "schedule_of"):
        from mixopt.tune import mixture_search

        return getattr(mixture_search, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
