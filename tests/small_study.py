import numpy as np
import pytest

from mixopt.space import SearchSpace
from mixopt.study import Study, TrialBudget

NAMES = ("web", "code", "books")
BEST = np.array([0.6, 0.3, 0.1])


@pytest.fixture
def space():
    return SearchSpace(domains=NAMES, baseline="uniform")


def bowl(schedule, _fidelity, seed):
    """A loss with its minimum at BEST and a little noise."""
    gap = schedule.exposure().to_array(NAMES) - BEST
    noise = np.random.default_rng(seed).normal()
    return {"loss": 2 + float(gap @ gap) + 1e-3 * noise, "other": 1.0 + gap[0]}


@pytest.fixture
def train():
    return bowl


@pytest.fixture
def make(space, tmp_path):
    """A small study on a file; keyword arguments replace the defaults."""

    def build(**changes):
        settings = {
            "storage": tmp_path / "study.db",
            "budget": TrialBudget(trials=10),
            "initial": 6,
            "batch": 4,
        }
        settings |= changes
        searched = settings.pop("space", space)
        objective = settings.pop("objective", {"loss": 1.0})
        return Study("demo", searched, objective, **settings)

    return build
