"""Notes: what is known beforehand, held against the recommendation."""

import numpy as np
from standin import Exact, Landscape, Standin, make_space

from mixopt.propose import Evidence, initial_design, recommend
from mixopt.propose.assess.notes import notes
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
    found = notes(problem, problem.X[0], {}, (), found=True)
    (said,) = [n for n in found if n.startswith("Warning: ")]
    assert "re-warms the learning rate on the distribution it was already trained on" in said
    assert ".1 to .4 nats" in said
    assert said.endswith("(Gupta et al., https://arxiv.org/abs/2308.04014).")


def recommended(Y):
    space = make_space(3, epochs=50)
    land = Landscape(space, 1e-3)
    seen = land.evidence(initial_design(space, 10, seed=0))
    changed = Evidence(seen.X, Y(seen.Y.copy()), seen.metrics, seen.ids)
    objective = Objective(weights={"a": 0.5, "b": 0.5})
    surrogate = Standin(space, seen, 1e-3)
    return recommend(space, objective, surrogate, changed, seed=0)


def test_a_trainer_that_ignores_the_mixture_is_told_of():
    def constant(Y, columns):
        Y[:, columns] = 2.0
        return Y

    every = recommended(lambda Y: constant(Y, [0, 1, 2])).notes
    assert any("same a, b: the trials say nothing about mixtures" in note for note in every)
    one = recommended(lambda Y: constant(Y, [0])).notes
    assert any("same a: it does not influence" in note for note in one)
    assert not any("measured the same" in note for note in recommended(lambda Y: Y).notes)


def test_a_prediction_worse_than_an_observed_run_is_told_of():
    def outlier(Y):
        Y[4] -= 5.0
        return Y

    told = [n for n in recommended(outlier).notes if "worse than the best observed one" in n]
    assert len(told) == 1
    assert "trial t4" in told[0]
    assert "does not fit that trial" in told[0]
    assert not any("worse than the best observed" in n for n in recommended(lambda Y: Y).notes)
