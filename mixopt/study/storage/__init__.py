"""The database of a study: who runs which trial, what was measured, what was decided."""

from __future__ import annotations

from mixopt.study.storage.leases import Lease
from mixopt.study.storage.rows import State, TrialRecord
from mixopt.study.storage.storage import Storage
from mixopt.study.storage.workers import this_worker

__all__ = ["Lease", "State", "Storage", "TrialRecord", "this_worker"]
