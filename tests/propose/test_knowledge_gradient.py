"""Slots of a batch that repeat a leading schedule."""

import numpy as np
import pytest
from standin import Landscape, Standin, make_space

from mixopt.errors import StudyError
from mixopt.propose import initial_design, propose_batch
from mixopt.propose.acquisition.knowledge_gradient import _value, leaders, worth_repeating
from mixopt.propose.problem import Problem
from mixopt.space import Guardrail, Objective, geometry_of


def setting(noise, n=16, phases=1, **rails):
    space = make_space(4, phases, epochs=50.0)
    land = Landscape(space, noise)
    seen = land.evidence(initial_design(space, n, seed=0, include=[space.baseline_schedule]))
    objective = Objective(weights=dict.fromkeys(land.metrics, 0.25), **rails)
    return space, objective, Standin(space, seen, max(noise, 1e-4)), seen


def repeated(space, batch, seen):
    rows = [tuple(np.round(geometry_of(space).encode(s), 6)) for s in batch]
    known = {tuple(np.round(row, 6)) for row in seen.X}
    return [row in known for row in rows]


@pytest.mark.parametrize(("noise", "phases"), [(0.0, 1), (0.01, 1), (0.0, 2)])
def test_nothing_is_repeated_where_noise_is_small(noise, phases):
    asked = setting(noise, phases=phases)
    plain = propose_batch(*asked, 4, seed=1)
    assert propose_batch(*asked, 4, seed=1, replicates="auto") == plain
    assert not any(repeated(asked[0], plain, asked[-1]))


def test_leaders_are_repeated_where_noise_decides():
    space, *_, seen = asked = setting(0.3)
    counts = []
    for seed in range(3):
        batch = propose_batch(*asked, 4, seed=seed, replicates="auto")
        assert len(batch) == 4
        found = repeated(space, batch, seen)
        assert found == sorted(found, reverse=True)
        counts.append(sum(found))
    assert max(counts) <= 2
    assert sum(counts) >= 3
    assert batch == propose_batch(*asked, 4, seed=2, replicates="auto")


def test_a_batch_of_one_and_a_count_stay_as_they_were():
    space, *_, seen = asked = setting(0.3)
    assert not any(repeated(space, propose_batch(*asked, 1, seed=0, replicates="auto"), seen))
    found = repeated(space, propose_batch(*asked, 4, seed=0, replicates=3), seen)
    assert found == [True, True, True, False]
    with pytest.raises(StudyError, match="got 2 trials and 3 replicates"):
        propose_batch(*asked, 2, seed=0, replicates=3)


def test_what_breaks_a_guardrail_is_not_repeated():
    impossible = {"guardrails": (Guardrail(metric="a", bound=0.1),)}
    space, objective, surrogate, seen = setting(0.3, **impossible)
    problem = Problem.of(space, objective, surrogate, seen)
    assert len(leaders(problem, 0)) == 0
    again, kept = worth_repeating(problem, problem.X[:3], problem.X, 0, 2)
    assert len(again) == 0
    assert list(kept) == [0, 1, 2]


def test_the_knowledge_gradient_of_two_schedules_is_the_known_one():
    # E[max(0, s Z - gap)] = s (phi(u) - u Phi(-u)) with u = gap / s.
    from scipy.stats import norm

    gap, s = 0.3, 0.5
    u = gap / s
    want = s * (norm.pdf(u) - u * norm.cdf(-u))
    steps = np.array([[0.0, 0.0], [0.0, s]])
    got = _value(np.array([0.0, gap]), steps)
    assert got[0] == pytest.approx(0.0, abs=1e-12)
    assert got[1] == pytest.approx(want, rel=5e-3)
