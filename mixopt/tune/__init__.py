"""Trials on Ray Tune: rounds, workers, progress, and a searcher for Tuners of your own."""

from __future__ import annotations

from mixopt.tune.progress import Progress
from mixopt.tune.rounds import RunSummary, run_rounds

__all__ = ["Progress", "RunSummary", "run_rounds"]
