"""Whole studies on losses of every kind: the loop must end with a schedule, whatever it is fed."""

import math

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixopt.space import PhaseSpace, SearchSpace, geometry_of
from mixopt.study import Study, TrialBudget

SHAPES = {
    "flat": lambda w: 0.0 * w,
    "step": lambda w: (w > 0.3) * 1.0,
    "linear": lambda w: -w,
    "bowl": lambda w: (w - 0.4) ** 2,
}


@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    domains=st.integers(2, 8),
    phases=st.sampled_from([1, 2]),
    shape=st.sampled_from(sorted(SHAPES)),
    noise=st.sampled_from([0.0, 1e-9, 0.01, 10.0]),
    seed=st.integers(0, 99),
)
def test_a_study_ends_with_a_feasible_schedule_and_finite_figures(
    domains, phases, shape, noise, seed
):
    names = tuple(f"d{i}" for i in range(domains))
    parts = [PhaseSpace(name="base"), PhaseSpace(name="ending", fraction=(0.0, 0.2))]
    space = SearchSpace(domains=names, phases=parts[:phases], baseline="uniform")

    def train(schedule, _fidelity, seed):
        w = schedule.exposure().to_array(names)[:2]
        luck = np.random.default_rng(seed).standard_normal(2)
        return dict(zip(names, 3 + SHAPES[shape](w) + noise * luck, strict=False))

    study = Study(
        "any",
        space,
        {"d0": 0.7, "d1": 0.3},
        storage=None,
        seed=seed,
        budget=TrialBudget(trials=6),
        initial=4,
        batch=2,
        replicates="auto",
    )
    found = study.optimize(train)
    assert not geometry_of(space).broken(found.schedule, 1e-6)
    gap = found.differences.predicted
    figures = (*dict(found.predicted).values(), *dict(gap).values(), found.noise_sd)
    assert all(math.isfinite(v) for v in figures)
