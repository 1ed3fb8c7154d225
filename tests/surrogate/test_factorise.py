"""Covariances that have no Cholesky factor: the rule, and that no landscape breaks a surrogate."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixopt.errors import SurrogateError
from mixopt.propose import Evidence, propose_batch, recommend
from mixopt.space import Fidelity, Objective, SearchSpace, geometry_of
from mixopt.surrogate import SurrogateSettings, fit_surrogate
from mixopt.surrogate.factorise import CUT, factorise, inverse

QUICK = SurrogateSettings(
    restarts=1, iterations=20, laws=("M4", "shared law"), gp_iterations=30, folds=3
)


def test_a_matrix_with_a_factor_is_left_alone():
    A = np.random.default_rng(0).standard_normal((3, 5, 5))
    K = torch.as_tensor(A @ A.transpose(0, 2, 1) + np.eye(5))
    found = factorise(K)
    assert torch.equal(found.root, torch.linalg.cholesky(K))
    assert (found.added == 0).all()


def test_a_singular_matrix_gets_the_least_jitter_that_helps_and_tells_it():
    row = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    both = torch.stack([row.T @ row, torch.eye(3, dtype=torch.float64)])
    found = factorise(both)
    assert 0 < found.added[0] < 1e-6
    assert found.added[1] == 0
    torch.testing.assert_close(found.root @ found.root.mT, both, rtol=1e-6, atol=1e-6)


def test_negative_eigenvalues_are_cut():
    K = torch.diag(torch.tensor([1.0, -0.5], dtype=torch.float64))
    made = factorise(K).root
    torch.testing.assert_close(torch.linalg.eigvalsh(made @ made.mT)[0].item(), CUT)


def test_gradients_pass_through_a_repair():
    row = torch.ones(1, 4, dtype=torch.float64, requires_grad=True)
    factorise(row.T @ row).root.sum().backward()
    assert torch.isfinite(row.grad).all()


def test_a_covariance_that_is_no_number_is_refused():
    with pytest.raises(SurrogateError, match="a covariance must be finite; 1 of its 4 elements"):
        factorise(torch.tensor([[1.0, 0.0], [0.0, float("nan")]], dtype=torch.float64))


def test_the_inverse_is_one():
    A = np.random.default_rng(1).standard_normal((4, 4))
    H = A @ A.T + np.eye(4)
    np.testing.assert_allclose(inverse(H) @ H, np.eye(4), atol=1e-10)


SHAPES = {
    "flat": lambda R: np.full(R.shape, 3.0),
    "step": lambda R: 2.0 + (R > 0.3),
    "linear": lambda R: 2.0 + R,
    "power": lambda R: 1.0 + (0.01 + R) ** -0.5,
    "huge": lambda R: 1e6 * (1.0 + R),
}


def trials(d, n, shape, noise, repeated, seed):
    """A space, and n trials of which some repeat the first."""
    rng = np.random.default_rng(seed)
    names = [f"d{i}" for i in range(d)]
    space = SearchSpace(
        domains=[{"name": k, "tokens": 1000} for k in names],
        target=Fidelity(parameters=1000, tokens=1000),
    )
    X = geometry_of(space).sample(n, rng)
    X[: int(repeated * n)] = X[0]
    Y = SHAPES[shape](X[:, :2]) + noise * rng.standard_normal((n, 2))
    return space, Evidence(X, Y, tuple(names[:2]), tuple(str(i) for i in range(n)))


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    d=st.integers(2, 8),
    n=st.sampled_from([1, 2, 3, 5, 12, 40]),
    shape=st.sampled_from(sorted(SHAPES)),
    noise=st.sampled_from([0.0, 0.0, 1e-9, 1e-4, 1.0]),
    repeated=st.sampled_from([0.0, 0.0, 0.5, 1.0]),
    seed=st.integers(0, 100),
)
def test_no_landscape_leaves_a_surrogate_without_an_answer(d, n, shape, noise, repeated, seed):
    space, seen = trials(d, n, shape, noise, repeated, seed)
    fitted = fit_surrogate(
        geometry_of(space).layout,
        seen.X,
        seen.Y,
        seen.metrics,
        space.names,
        seed=seed,
        settings=QUICK,
    )
    X = torch.as_tensor(seen.X[:, None]).requires_grad_()
    got = fitted.posterior(X)
    (got.mean + got.variance.sqrt()).sum().backward()
    assert torch.isfinite(X.grad).all()
    joint = fitted.posterior(torch.as_tensor(seen.X)).rsample(torch.Size([4]))
    assert torch.isfinite(joint).all()
    assert torch.isfinite(fitted.sample_paths(4, 0)(torch.as_tensor(seen.X))).all()
    for values in (vars(fitted.predict(seen.X)) | {"noise": fitted.noise_sd}).values():
        assert np.isfinite(values).all()


@pytest.mark.parametrize(("d", "n", "shape"), [(2, 20, "step"), (3, 24, "linear"), (5, 12, "flat")])
def test_exact_losses_reach_a_batch_and_a_recommendation(d, n, shape):
    space, seen = trials(d, n, shape, 0.0, 0.3, 0)
    layout = geometry_of(space).layout
    fitted = fit_surrogate(layout, seen.X, seen.Y, seen.metrics, space.names, settings=QUICK)
    objective = Objective(weights=dict.fromkeys(seen.metrics, 0.5))
    batch = propose_batch(space, objective, fitted, seen, 2, seed=0, replicates="auto")
    assert len(batch) == 2
    got = recommend(space, objective, fitted, seen, seed=0)
    assert np.isfinite(got.predicted.mean)
    assert set(fitted.repairs) <= set(got.notes)


def test_what_was_added_to_a_covariance_is_told(monkeypatch):
    space, seen = trials(3, 12, "linear", 0.0, 0.0, 0)
    layout = geometry_of(space).layout
    real = factorise

    def singular(K):
        return real(K - 2 * K.diagonal(dim1=-2, dim2=-1).mean() * torch.eye(K.shape[-1]))

    monkeypatch.setattr("mixopt.surrogate.ensemble.gp.factorise", singular)
    fitted = fit_surrogate(layout, seen.X, seen.Y, seen.metrics, space.names, settings=QUICK)
    assert len(fitted.repairs) == 2
    assert fitted.repairs[0].startswith("the covariance of the 12 trials on d0 had no Cholesky")
