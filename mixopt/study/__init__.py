"""Studies: ask, tell, recommend, and the storage that outlives the process."""

from __future__ import annotations

from mixopt.study.budget import Spent, TrialBudget
from mixopt.study.config import StudyConfig, StudySettings, derived_seed
from mixopt.study.run_trial import run_trial
from mixopt.study.state import StudyState
from mixopt.study.storage import State, Storage, TrialRecord
from mixopt.study.study import Study
from mixopt.study.trainers import CallableTrainer, CommandTrainer
from mixopt.study.transfer import Inherited

__all__ = [
    "CallableTrainer",
    "CommandTrainer",
    "Inherited",
    "Spent",
    "State",
    "Storage",
    "Study",
    "StudyConfig",
    "StudySettings",
    "StudyState",
    "TrialBudget",
    "TrialRecord",
    "derived_seed",
    "run_trial",
]
