"""Proposals and designs in a space whose domains are a tree with ties."""

import numpy as np
import pytest
from standin import Standin

from mixopt.propose import Evidence, initial_design, propose_batch, recommend
from mixopt.propose.candidates.pool import Projector, draws
from mixopt.space import Fidelity, Objective, PhaseSpace, SearchSpace, geometry_of

TREE = {f"s{i}/{q}": {"tokens": 50_000 * (i + k)} for i in (1, 2, 3) for k, q in enumerate("hl")}


def tied_space(phases=1):
    chosen = [PhaseSpace(name="base", bounds={"s1": (0.05, 0.6)})]
    if phases == 2:
        chosen.append(PhaseSpace(name="ending", fraction=(0.0, 0.2), ties={"s1": "natural"}))
    return SearchSpace(
        domains=TREE,
        phases=chosen,
        target=Fidelity(parameters=1000, tokens=200_000),
        max_epochs=3.0,
        ties={"s1": "natural", "s2": {"h": 0.7, "l": 0.3}},
    )


def loss(X, d=6):
    z = X[:, :d] @ np.linspace(0.5, 1.5, d)[:, None]
    return np.hstack([2 + 0.3 / (0.1 + z), 2 + 0.2 * (z - 0.9) ** 2])


def seen(space, n=10):
    X = np.array([geometry_of(space).encode(s) for s in initial_design(space, n, seed=0)])
    ids = tuple(f"t{i}" for i in range(n))
    return Evidence(X, loss(X), ("a", "b"), ids)


def test_the_fast_projection_is_the_nearest_point():
    space = tied_space()
    polytope = geometry_of(space).polytope((1.0,))
    fast = Projector(polytope)
    assert fast.caps is not None
    y = np.random.default_rng(0).dirichlet(np.full(6, 0.5), 60)
    got, slow = fast(y), polytope.project(y, 4000)
    assert polytope.violation(got).max() < 1e-9
    assert ((got - y) ** 2).sum(1) == pytest.approx(((slow - y) ** 2).sum(1), abs=1e-5)


def test_what_links_blocks_is_projected_by_splitting():
    grouped = PhaseSpace(groups=[{"domains": ["s1", "s3/h"], "max": 0.5}])
    space = SearchSpace(**{**tied_space().model_dump(), "phases": [grouped]})
    fast = Projector(geometry_of(space).polytope((1.0,)))
    assert fast.caps is None
    x = draws(geometry_of(space), 64, np.random.default_rng(0))
    assert geometry_of(space).polytope((1.0,)).violation(x).max() < 1e-7


@pytest.mark.parametrize("phases", [1, 2])
def test_a_design_keeps_the_proportions(phases):
    space = tied_space(phases)
    for schedule in initial_design(space, 6, seed=3):
        assert geometry_of(space).broken(schedule, 1e-7) == []


@pytest.mark.parametrize("phases", [1, 2])
def test_a_batch_keeps_the_proportions(phases):
    space = tied_space(phases)
    evidence = seen(space)
    surrogate = Standin(space, evidence, 0.01)
    objective = Objective(weights={"a": 0.5, "b": 0.5})
    batch = propose_batch(space, objective, surrogate, evidence, 4, seed=1)
    for schedule in batch:
        assert geometry_of(space).broken(schedule, 1e-7) == []


def test_the_recommendation_keeps_the_proportions():
    space = tied_space()
    evidence = seen(space)
    objective = Objective(weights={"a": 0.5, "b": 0.5})
    surrogate = Standin(space, evidence, 0.01)
    found = recommend(space, objective, surrogate, evidence, seed=0)
    assert geometry_of(space).broken(found.schedule, 1e-7) == []
    assert found.schedule.base["s2/h"] == pytest.approx(
        0.7 * sum(found.schedule.base[n] for n in space.leaves("s2")), abs=1e-8
    )
