"""Peaks searched with the mixture: on a landscape whose best peak rises with the data's shift."""

import numpy as np
import pytest
import torch

from mixopt.propose import initial_design
from mixopt.propose.candidates.pool import around, draws, endings, trunks
from mixopt.propose.candidates.refine import refine
from mixopt.space import Fidelity, Objective, SearchSpace, geometry_of
from mixopt.study import Study

NAMES = ("web", "code", "math")
BASE = {"web": 0.7, "code": 0.2, "math": 0.1}
GOAL = Objective(weights={"web": 0.3, "code": 0.2, "math": 0.5})
RULE = {"peak": {"min": 1e-4, "max": 1e-2}, "warmup": 0.01, "decay": "rest", "final": 0.1}


def make(run=None, base=None, rule=RULE):
    return SearchSpace.model_validate(
        {
            "domains": NAMES,
            "baseline": BASE,
            "learning_rate": run,
            "phases": [
                {"name": "base", **({"fixed": BASE} if base is None else base)},
                {"name": "ending", "fraction": [0, 0.1, 0.2, 0.3], "learning_rate": rule},
            ],
        }
    )


def best_peak(shift):
    """3e-4 where the data stay, 6e-3 where all of them change."""
    return 3e-4 * 20**shift


def losses(schedule):
    W = np.array([p.mixture.to_array(NAMES) for p in schedule.phases])
    F = np.array([p.fraction for p in schedule.phases])
    late = F * np.array([1.0, 3.0])[: len(F)]
    loss = 1 + np.array([0.5, 0.35, 0.6]) * (late @ W / late.sum() + 0.03) ** -0.35
    if len(F) > 1:
        wanted = best_peak(np.abs(W[1] - W[0]).sum() / 2)
        miss = np.log10(schedule.phases[1].learning_rate.peak / wanted)
        loss = loss + 0.15 * miss**2
    return dict(zip(NAMES, loss, strict=True))


def test_the_search_finds_the_mixture_and_the_peak_that_goes_with_it():
    study = Study("s", make(), GOAL, fidelity=Fidelity(parameters=1, tokens=10**6), storage=None,
                  seed=2, initial=10, batch=6)  # fmt: skip
    rng = np.random.default_rng(2)
    for _ in range(4):
        for trial in study.ask():
            found = losses(trial.schedule)
            study.tell(trial.id, {n: v + 0.003 * rng.standard_normal() for n, v in found.items()})
    schedule = study.recommend().schedule
    # 1.7115 is the best of 20,000 random schedules, 1.897 the baseline.
    assert GOAL.value(losses(schedule)) < 1.72
    ending = schedule.phases[1]
    shift = sum(abs(ending.mixture[n] - BASE[n]) for n in NAMES) / 2
    assert ending.learning_rate.peak == pytest.approx(best_peak(shift), rel=0.5)
    assert ending.mixture["math"] > 0.7


def test_an_initial_design_covers_the_peaks_of_the_endings():
    space = make()
    schedules = initial_design(space, 14, seed=0)
    rows = np.array([geometry_of(space).encode(s) for s in schedules])
    with_ending = rows[geometry_of(space).layout.split(rows)[1][:, -1] > 0, -1]
    assert with_ending.min() < 0.15
    assert with_ending.max() > 0.85


def test_endings_keep_the_trunks_peak_and_vary_their_own():
    space = make(run={"peak": {"min": 1e-3, "max": 1e-2}}, base={})
    rng = np.random.default_rng(0)
    like = draws(geometry_of(space), 1, rng)[0]
    found = endings(geometry_of(space), like, 20, rng)
    assert len(np.unique(trunks(geometry_of(space), found), axis=0)) == 1
    np.testing.assert_array_equal(
        trunks(geometry_of(space), found[:1]), trunks(geometry_of(space), like[None])
    )
    assert np.ptp(geometry_of(space).layout.rate_part(found)[:, 1]) > 0.8


def test_neighbours_stay_within_range_and_on_levels():
    space = make(rule={**RULE, "warmup": [0, 0.01, 0.02]})
    rng = np.random.default_rng(1)
    rows = around(geometry_of(space), draws(geometry_of(space), 5, rng), 200, rng)
    rates = geometry_of(space).layout.rate_part(rows)
    assert rates.min() >= 0
    assert rates.max() <= 1
    assert set(np.round(rates[:, 1], 12)) <= {0.0, 0.5, 1.0}
    assert len(np.unique(rates[:, 0])) > 50


def test_refining_moves_the_peak_to_its_best_and_keeps_what_it_must():
    space = make(run={"peak": {"min": 1e-3, "max": 1e-2}}, base={})
    rng = np.random.default_rng(3)
    starts = endings(geometry_of(space), draws(geometry_of(space), 1, rng)[0], 6, rng)

    def score(X):
        return ((geometry_of(space).layout.rate_part(X) - torch.tensor([0.2, 0.7])) ** 2).sum(-1)

    free, _ = refine(geometry_of(space), starts, score)
    np.testing.assert_allclose(
        geometry_of(space).layout.rate_part(free), [[0.2, 0.7]] * len(free), atol=0.02
    )
    held, _ = refine(geometry_of(space), starts, score, keep_trunk=np.ones(len(starts), dtype=bool))
    np.testing.assert_array_equal(
        trunks(geometry_of(space), held), trunks(geometry_of(space), starts)
    )
    np.testing.assert_allclose(geometry_of(space).layout.rate_part(held)[:, 1], 0.7, atol=0.02)
