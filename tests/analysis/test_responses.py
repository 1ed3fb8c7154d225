"""What the surrogate learned of the weights, held against a truth that is known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mixopt.analysis.responses import responses
from mixopt.propose import Evidence
from mixopt.propose.problem import Problem
from mixopt.space import Objective, Schedule, SearchSpace, geometry_of

SLOPES = {"a": np.array([1.0, 2.0, 4.0, 0.0]), "b": np.array([0.0, 0.0, 0.0, 8.0])}
SD = 0.01


class Linear:
    """A surrogate that knows each metric to be linear in the last phase, errors independent."""

    metrics = tuple(SLOPES)

    def __init__(self, geometry):
        self.geometry = geometry

    def posterior(self, X):
        weights = self.geometry.layout.split(X)[0][..., -1, :]
        slopes = torch.as_tensor(np.stack(list(SLOPES.values()), axis=1))
        mean = (weights @ slopes).flatten(-2)
        cov = SD**2 * torch.eye(mean.shape[-1], dtype=mean.dtype).expand(*mean.shape, -1)
        return SimpleNamespace(distribution=SimpleNamespace(mean=mean, covariance_matrix=cov))


def problem_of(**more):
    domains = {n: {"tokens": 1000} for n in "wxyz"}
    space = SearchSpace.model_validate({"domains": domains, "baseline": "uniform", **more})
    geometry = geometry_of(space)
    evidence = Evidence(
        X=geometry.encode(space.baseline_schedule)[None],
        Y=np.ones((1, 2)),
        metrics=tuple(SLOPES),
        ids=("t0",),
    )
    objective = Objective(weights={"a": 0.5, "b": 0.5})
    return Problem.of(space, objective, Linear(geometry), evidence)


@pytest.fixture
def two_phases():
    ending = {"name": "ending", "fraction": 0.2, "bounds": {"y": [0.0, 0.5]}}
    return problem_of(phases=[{"name": "base"}, ending])


WEIGHTS = {"w": 0.4, "x": 0.3, "y": 0.2, "z": 0.1}


def test_effects_are_the_slopes_of_the_truth(two_phases):
    found = responses(two_phases, Schedule.two_phase(WEIGHTS, WEIGHTS, 0.2))
    assert [(e.phase, e.domain) for e in found.effects] == [
        (phase, name) for phase in ("base", "ending") for name in "wxyz"
    ]
    mixture = np.array(list(WEIGHTS.values()))
    for effect in found.effects:
        i = "wxyz".index(effect.domain)
        for metric, slope in SLOPES.items():
            rise = (slope[i] - slope @ mixture) / (1 - mixture[i]) / 100
            wanted = 0.0 if effect.phase == "base" else rise
            assert effect.metrics[metric].mean == pytest.approx(wanted, abs=1e-9)
        both = 0.5 * (effect.metrics["a"].mean + effect.metrics["b"].mean)
        assert effect.objective.mean == pytest.approx(both)
        assert effect.objective.sd == pytest.approx(SD / 4, rel=1e-6)


def test_weights_move_as_far_as_the_space_allows(two_phases):
    found = responses(two_phases, Schedule.two_phase(WEIGHTS, WEIGHTS, 0.2))
    limits = {(e.phase, e.domain): (e.low, e.high) for e in found.effects}
    assert limits["ending", "y"] == pytest.approx((0.0, 0.5), abs=1e-7)
    assert limits["base", "y"] == pytest.approx((0.0, 1.0), abs=1e-7)
    # The others shrink with it, so no bound of theirs is met.
    assert limits["ending", "w"][1] == pytest.approx(1.0, abs=1e-7)
    for each in found.slices:
        assert each.weights[0] == pytest.approx(each.effect.low)
        assert each.weights[-1] == pytest.approx(each.effect.high)
    # Slices begin with those that change the objective most.
    ranges = [abs(s.objective[-1].mean - s.objective[0].mean) for s in found.slices]
    assert ranges == pytest.approx(sorted(ranges, reverse=True))


def test_the_ternary_map_shows_allowed_mixtures_alone(two_phases):
    found = responses(two_phases, Schedule.two_phase(WEIGHTS, WEIGHTS, 0.2)).ternary
    assert found.domains == ("w", "x", "y")
    points = np.array(found.points)
    assert points.sum(1) == pytest.approx(0.9)
    assert points[:, 2].max() <= 0.5
    best = np.argmin([e.mean for e in found.objective])
    # The truth is cheapest in w, and then x.
    assert points[best] == pytest.approx([0.9, 0, 0])


def test_a_schedule_that_ends_as_it_begins_moves_as_one():
    ending = {"name": "ending", "fraction": [0.0, 0.2]}
    problem = problem_of(phases=[{"name": "base"}, ending])
    found = responses(problem, Schedule.static(WEIGHTS))
    assert {e.phase for e in found.effects} == {"base"}
    assert len(found.effects) == 4
    # The last phase has no tokens, and its weights follow those of the first.
    assert all(abs(e.metrics["a"].mean) > 1e-3 for e in found.effects)


def test_what_is_tied_or_fixed_does_not_move_alone():
    fixed = {"name": "base", "bounds": {"w": [0.4, 0.4], "x": [0.3, 0.3], "y": [0.2, 0.2]}}
    found = responses(problem_of(phases=[fixed]), Schedule.static(WEIGHTS))
    assert found.effects == ()
    assert found.slices == ()
    assert found.ternary is None
