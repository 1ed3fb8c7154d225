"""Errors that several metrics share must widen the interval of an objective made of them."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from mixopt.bench.tables import load_table
from mixopt.propose import Evidence
from mixopt.propose.problem import Problem
from mixopt.space import Domain, Layout, Mixture, Objective, SearchSpace
from mixopt.surrogate import SurrogateSettings, fit_surrogate
from mixopt.surrogate.ensemble.stack import error_correlation

QUICK = SurrogateSettings(restarts=2, iterations=60, gp_iterations=40)
METRICS = ["d0", "d1", "d2", "d3"]


def seeded_losses(n, share, seed=0):
    """Four metrics over four domains whose noise is to ``share`` that of the run, not theirs."""
    rng = np.random.default_rng(seed)
    W = rng.dirichlet(np.ones(4), n)
    own = rng.standard_normal((n, 4)) * (1 - share) ** 0.5
    noise = rng.standard_normal((n, 1)) * share**0.5 + own
    return W, 2 + np.exp(-2 * W) + 0.03 * noise


def problem(n, share, seed=0):
    X, Y = seeded_losses(n, share, seed)
    fitted = fit_surrogate(Layout(4), X, Y, METRICS, METRICS, settings=QUICK)
    space = SearchSpace(
        domains=tuple(Domain(name=k) for k in METRICS), baseline=Mixture.uniform(METRICS)
    )
    objective = Objective(weights=dict.fromkeys(METRICS, 0.25))
    ids = tuple(str(i) for i in range(n))
    return Problem.of(space, objective, fitted, Evidence(X, Y, tuple(METRICS), ids))


def test_correlation_is_recovered_and_shrunk_towards_independence():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((4000, 1)) * 0.8 + rng.standard_normal((4000, 3)) * 0.6
    off = ~np.eye(3, dtype=bool)
    assert error_correlation(z)[off] == pytest.approx(0.64, abs=0.05)
    few = error_correlation(z[:3])
    assert np.abs(few[off]).max() <= 3 / 13 + 1e-12
    assert np.linalg.eigvalsh(few).min() > 0


def test_shared_noise_widens_the_objective_and_private_noise_does_not():
    shared, private = problem(40, 0.95), problem(40, 0.0)
    # The noise of a mean of four: sd .03 if they all go together, half of it if they do not.
    assert shared.noise / private.noise == pytest.approx(2.0, rel=0.35)


def test_posterior_and_draws_have_the_correlation_that_the_surrogate_tells():
    asked = problem(30, 0.95)
    fitted, R = asked.surrogate, asked.surrogate.correlation
    x = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
    joint = fitted.posterior(x).distribution.covariance_matrix.reshape(2, 4, 2, 4)
    mean_only = fitted.predict(x.numpy())
    for at in range(2):
        cov = joint[at, :, at].numpy()
        sd = np.sqrt(np.diag(cov))
        np.testing.assert_allclose(sd, mean_only.sd[at], rtol=1e-3)
        # Exact at the first point; at the next only where the metrics' kernels are alike.
        np.testing.assert_allclose(cov / np.outer(sd, sd), R, atol=0.1 if at else 1e-6)
    draws = fitted.sample_paths(4000, 0)(x)[:, 0].numpy()
    assert np.corrcoef(draws.T) == pytest.approx(R, abs=0.1)


def test_the_objective_over_many_metrics_is_covered_on_real_runs():
    folder = Path(os.environ.get("MIXOPT_DATA") or Path(__file__).parents[3] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no tables of real runs at {folder}; set MIXOPT_DATA")
    table = load_table("redpajama").densest()
    weights = {name: 1 / len(table.metrics) for name in table.metrics}
    space = SearchSpace(
        domains=tuple(Domain(name=k) for k in table.domains),
        baseline=Mixture.uniform(table.domains),
    )
    inside = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(table))
        seen, rest = order[:20], order[20:]
        rows = table.X[seen], table.Y[seen], table.metrics
        fitted = fit_surrogate(Layout(len(table.domains)), *rows, table.domains, settings=QUICK)
        ids = tuple(map(str, seen))
        asked = Problem.of(space, Objective(weights=weights), fitted, Evidence(*rows, ids))
        mean, sd = asked.expected(table.X[rest][:, asked.there])
        wide = 1.96 * np.hypot(sd, asked.noise)
        inside.append(np.abs(table.Y[rest].mean(1) - mean) <= wide)
    # Were the 22 metrics' errors taken as independent, two thirds would be inside.
    assert np.mean(inside) > 0.8
