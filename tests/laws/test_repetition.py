import numpy as np
import pytest
import torch

from mixopt.errors import SpaceError
from mixopt.laws import effective_weights, worth_per_token
from mixopt.space import Fidelity, SearchSpace, geometry_of
from mixopt.space.geometry.layout import Repetition


def make(**more):
    return SearchSpace(
        domains={
            "web": {"tokens": 10_000},
            "math": {"tokens": 100, "r_star": 4.0},
            "open": {},
        },
        phases=[{"name": "base"}, {"name": "ending", "fraction": (0.0, 0.2)}],
        baseline="uniform",
        target=Fidelity(parameters=1, tokens=2000),
        **more,
    )


def test_the_file_says_per_domain_what_repeats_are_worth():
    assert geometry_of(make()).layout.repetition == Repetition(
        (np.inf, 100.0, np.inf), (1.0, 4.0, 1.0), 2000.0
    )
    whole = geometry_of(make(r_star=15.39)).layout.repetition
    assert whole.available == (10_000.0, 100.0, np.inf)
    assert whole.r_star == (15.39, 4.0, 15.39)
    assert SearchSpace.model_validate_json(make(r_star=8).model_dump_json()) == make(r_star=8)
    assert "r_star" not in SearchSpace(domains=["a", "b"], baseline="uniform").model_dump_json()


def test_what_repeats_are_worth_needs_a_target():
    with pytest.raises(SpaceError, match="depends on the target's tokens"):
        SearchSpace(domains=["a", "b"], baseline="uniform", r_star=15.0)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_weights_shrink_by_the_worth_of_the_whole_runs_epochs(kind):
    repetition = geometry_of(make(r_star=15.39)).layout.repetition
    W = np.array([[[0.7, 0.1, 0.2], [0.2, 0.6, 0.2]], [[0.5, 0.05, 0.45], [0.9, 0.02, 0.08]]])
    F = np.array([[0.8, 0.2], [0.8, 0.2]])
    seen = np.asarray(effective_weights(repetition, kind(W), kind(F), 2000.0))
    # Math: 4 epochs in the first schedule, .88 in the second; nothing else is read twice.
    worth = worth_per_token(np.array([4.0]), 4.0)[0]
    np.testing.assert_allclose(seen[0, :, 1], worth * W[0, :, 1])
    np.testing.assert_allclose(seen[1], W[1])
    np.testing.assert_allclose(seen[..., [0, 2]], W[..., [0, 2]])
    np.testing.assert_array_equal(effective_weights(repetition, W, F, 0.0), W)
    np.testing.assert_array_equal(effective_weights(None, W, F, 2000.0), W)


def test_gradients_pass_through_the_worth():
    repetition = geometry_of(make()).layout.repetition
    W = torch.tensor([[[0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]]], dtype=torch.float64)
    W.requires_grad_()
    F = torch.ones(2, 1, dtype=torch.float64)
    effective_weights(repetition, W, F, 2000.0).sum().backward()
    # After 20 epochs with an R* of 4 one more token is worth exp(-19 / 4); a first one is worth 1.
    np.testing.assert_allclose(W.grad[:, 0, 1], [np.exp(-19 / 4), 1.0])
    assert torch.isfinite(W.grad).all()
