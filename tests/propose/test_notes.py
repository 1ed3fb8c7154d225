"""Notes: what is known beforehand, held against the recommendation."""

import numpy as np
from standin import Exact, Landscape

from mixopt.propose.assess.notes import notes
from mixopt.propose.assess.winners_curse import Optimism
from mixopt.propose.problem import Problem
from mixopt.space import Objective, SearchSpace, geometry_of


def test_notes_hold_the_advice_against_a_schedule_that_breaks_it():
    base = {"a": 0.6, "b": 0.4}
    space = SearchSpace(
        domains=("a", "b"),
        phases=[
            {"name": "base", "fixed": base, "learning_rate": {"decay": 0.9, "final": 0.1}},
            {
                "name": "again",
                "fraction": 0.2,
                "fixed": base,
                "learning_rate": {"warmup": 0.1, "start": 0.1},
            },
        ],
        baseline="uniform",
    )
    land = Landscape(space)
    evidence = land.evidence(
        [geometry_of(space).decode(geometry_of(space).sample(1, np.random.default_rng(0))[0])] * 3
    )
    problem = Problem.of(space, Objective(weights={"a": 1.0}), Exact(land), evidence)
    found = notes(problem, problem.X[0], {}, (), found=True, optimism=Optimism(0.0, 0.0, 0.0, 0))
    (said,) = [n for n in found if n.startswith("Warning: ")]
    assert "re-warms the learning rate on the distribution it was already trained on" in said
    assert ".1 to .4 nats" in said
    assert said.endswith("(Gupta et al., arXiv 2308.04014).")
