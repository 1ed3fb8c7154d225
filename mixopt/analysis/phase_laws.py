"""The shared law of phases fitted to trials: what schedules of any number of phases would lose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixopt.errors import StudyError
from mixopt.laws import (
    SharedFit,
    SharedShape,
    Units,
    effective_weights,
    fit_shared,
    rate_fractions,
    shared_value,
)
from mixopt.propose.evidence import Evidence
from mixopt.space import Layout, Objective, SearchSpace, geometry_of
from mixopt.steps import step

Array = NDArray[np.float64]

#: Predicted objective ``n`` of weights ``n x P x d`` and fractions ``n x P``, for any P.
Loss = Callable[[Any, Any], Any]


@step("fitting laws of phases")
def fitted_losses(
    space: SearchSpace,
    objective: Objective,
    evidence: Evidence,
    *,
    trained: float = 0.0,
    folds: int = 5,
    seed: int = 0,
) -> list[Loss]:
    """The shared law of phases fitted to every trial, then without each fold of them.

    Args:
        space: What was searched.
        objective: Whose metrics are modelled.
        evidence: Finished trials.
        trained: Tokens of the trials, where the space says what repeated ones are worth.
        folds: Laws fitted without a part of the trials.
        seed: Of folds and starts.

    Raises:
        StudyError: If no trial has two phases, or there are fewer than two trials per fold.
    """
    layout = geometry_of(space).layout.trained_on(trained)
    W, F = layout.split(evidence.X)
    if W.shape[1] < 2 or not ((F > 1e-9).sum(1) > 1).any():
        raise StudyError(
            "what late tokens are worth is learned from trials of two phases; the study has none",
            "add a phase to the space: `phases: [{name: base}, {name: ending, fraction: [0.2]}]`",
        )
    if len(evidence) < 2 * folds:
        raise StudyError(
            f"judging more phases needs {2 * folds} finished trials; got {len(evidence)}",
            "run more trials",
        )
    used = [i for i, name in enumerate(evidence.metrics) if objective.weights.get(name, 0.0) > 0]
    weights = evidence.coefficients(objective)[used]
    names = [evidence.metrics[i] for i in used]
    own = tuple(space.names.index(n) if n in space.names else -1 for n in names)
    fold = np.random.default_rng(seed).permutation(len(evidence)) % folds
    masks = np.vstack([np.ones(len(fold)), *(fold != k for k in range(folds))]).astype(float)
    classes = max(8, 2 * len(space.names))
    shape = SharedShape(own, len(space.names), classes, W.shape[1])
    repeated = layout.repetition
    seen = W if repeated is None else effective_weights(repeated, W, F, repeated.trials)
    F = rate_fractions(layout.clock, F)
    fits = fit_shared(shape, seen, F, evidence.Y[:, used], masks=masks, seed=seed)
    return [_loss(fit, weights, layout) for fit in fits]


def _loss(fit: SharedFit, weights: Array, layout: Layout) -> Loss:
    theta, share = torch.as_tensor(fit.theta), torch.as_tensor(fit.weights)
    units = Units(torch.as_tensor(fit.scales.low), torch.as_tensor(fit.scales.sd))
    w = torch.as_tensor(weights)
    # More phases than the space has follow the run's rule: theirs were for other lengths.
    clock = layout.clock and replace(layout.clock, own=(None,))

    def loss(W: Tensor, F: Tensor) -> Tensor:
        if layout.repetition is not None:
            W = effective_weights(layout.repetition, W, F, layout.repetition.target)
        F = rate_fractions(clock, F)
        values = shared_value(fit.shape, units, theta, W, F)
        found: Tensor = torch.einsum("bnm,b,m->n", values, share, w)
        return found

    return loss
