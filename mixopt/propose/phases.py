"""Many short phases as the limit: schedules of 1, 2, 4, ... phases, and when more stop paying.

Ye et al. (arXiv 2403.16952) name dynamic schedules as the outlook of their laws. A law of phases
(:mod:`mixopt.laws.phases`) sees a schedule through the recency-weighted mixture of each metric, so
one that was fitted to two phases predicts any number. All phases are optimised jointly, with a
penalty on jumps; every schedule starts from the one with half as many phases, each split in two, so
that more phases are never worse under the law that is optimised. Whether they are better is judged
by laws that were fitted without some of the trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixopt.errors import StudyError
from mixopt.laws import SharedFit, SharedShape, Units, fit_shared, shared_value
from mixopt.propose.evidence import Evidence
from mixopt.propose.recommendation import Estimate
from mixopt.propose.refine import refine
from mixopt.propose.threads import one_thread
from mixopt.space import Frozen, Objective, PhaseSpace, Schedule, SearchSpace

Array = NDArray[np.float64]

#: Predicted objective ``n`` of weights ``n x P x d`` and fractions ``n x P``, for any P.
Loss = Callable[[Any, Any], Any]

#: Random starts beside the split one.
STARTS = 6


class PhaseCount(Frozen):
    """The best schedule of so many equal phases.

    Attributes:
        phases: Their number.
        schedule: The best found.
        predicted: Its objective under the law that was optimised (nats/token).
        gain: Objective with half as many phases minus this one, under laws fitted without some of
            the trials; its interval is theirs. Zero for the first.
        pays: Whether the gain is clear of 0 and at least what is asked for.
    """

    phases: int
    schedule: Schedule
    predicted: float
    gain: Estimate
    pays: bool


class DynamicSchedules(Frozen):
    """Schedules of more and more phases.

    Attributes:
        smoothness: Price of jumps that was used.
        worth: Least gain that counts (nats/token).
        counts: In rising number of phases.
        enough: Phases after which doubling no longer pays.
    """

    smoothness: float
    worth: float
    counts: tuple[PhaseCount, ...]
    enough: int


@one_thread
def dynamic_schedules(
    space: SearchSpace,
    losses: Sequence[Loss],
    *,
    doublings: int = 3,
    smoothness: float = 0.0,
    worth: float = 0.0,
    seed: int = 0,
) -> DynamicSchedules:
    """Optimise schedules of 1, 2, 4, ... equal phases.

    Args:
        space: Its domains, bounds of the first phase, epoch caps over the whole run.
        losses: The law to optimise, then two or more that judge the gains.
        doublings: How often the number of phases is doubled.
        smoothness: Price per squared change of the weights between neighbours (nats/token).
        worth: Least gain that counts; the noise of an observation is a good one.
        seed: Of the random starts.

    Raises:
        StudyError: If there are no judges, or a number is negative.
        InfeasibleError: If the space allows no static mixture.
    """
    if len(losses) < 3 or doublings < 0 or smoothness < 0 or worth < 0:
        raise StudyError(
            f"dynamic schedules need a law and two judges, and numbers that are not negative; got "
            f"{len(losses)} laws, {doublings} doublings, smoothness {smoothness:g} and worth "
            f"{worth:g}",
            "judges are laws fitted without some of the trials",
        )
    rng = np.random.default_rng(seed)
    counts: list[PhaseCount] = []
    before: Array | None = None
    for k in (2**i for i in range(doublings + 1)):
        spread = phase_space(space, k)
        weights = _optimised(spread, losses[0], before, smoothness, rng)
        gain = Estimate.of(0.0, 0.0) if before is None else _gain(losses[1:], before, weights)
        counts.append(
            PhaseCount(
                phases=k,
                schedule=_schedule(spread, weights),
                predicted=_value(losses[0], weights),
                gain=gain,
                pays=k == 1 or (gain.low > 0 and gain.mean >= worth),
            )
        )
        before = weights
    stop = next((i for i, c in enumerate(counts) if not c.pays), len(counts))
    return DynamicSchedules(
        smoothness=smoothness, worth=worth, counts=tuple(counts), enough=counts[stop - 1].phases
    )


def phase_space(space: SearchSpace, phases: int) -> SearchSpace:
    """The space with so many equal phases, each with the bounds of its first."""
    first = space.phases[0]
    made = tuple(
        PhaseSpace(
            name=f"phase {i + 1}",
            fraction=1 / phases,
            domains=first.domains,
            bounds=first.bounds,
            groups=first.groups,
            ties=first.ties,
        )
        for i in range(phases)
    )
    # Made anew: a copy would keep the polytopes of the old phases.
    known = {name: getattr(space, name) for name in SearchSpace.model_fields}
    return SearchSpace(**{**known, "phases": made, "baseline": "uniform"})


def fitted_losses(
    space: SearchSpace, objective: Objective, evidence: Evidence, *, folds: int = 5, seed: int = 0
) -> list[Loss]:
    """The shared law of phases fitted to every trial, then without each fold of them.

    Raises:
        StudyError: If no trial has two phases, or there are fewer than two trials per fold.
    """
    W, F = space.layout.split(evidence.X)
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
    fits = fit_shared(shape, W, F, evidence.Y[:, used], masks=masks, seed=seed)
    return [_loss(fit, weights) for fit in fits]


def _loss(fit: SharedFit, weights: Array) -> Loss:
    theta, share = torch.as_tensor(fit.theta), torch.as_tensor(fit.weights)
    units = Units(torch.as_tensor(fit.scales.low), torch.as_tensor(fit.scales.sd))
    w = torch.as_tensor(weights)

    def loss(W: Tensor, F: Tensor) -> Tensor:
        values = shared_value(fit.shape, units, theta, W, F)
        found: Tensor = torch.einsum("bnm,b,m->n", values, share, w)
        return found

    return loss


def _optimised(
    space: SearchSpace, loss: Loss, before: Array | None, smoothness: float, rng: Any
) -> Array:
    """Best weights ``P x d``, from the schedule of half as many phases and from random ones."""
    starts = space.sample(STARTS, rng, vertices=0.5)
    if before is not None:
        split = np.repeat(before, 2, axis=0).reshape(1, -1)
        starts = np.vstack([space.rows(space.fraction_choices[0], split), starts])

    def score(X: Tensor) -> Tensor:
        W, F = space.layout.split(X)
        jumps = ((W[:, 1:] - W[:, :-1]) ** 2).sum((1, 2))
        value: Tensor = loss(W, F) + smoothness * jumps
        return value

    X, value = refine(space, starts, score, steps=120)
    return np.asarray(space.layout.split(X[[int(np.argmin(value))]])[0][0])


def _fractions(weights: Array) -> Array:
    return np.full((1, len(weights)), 1 / len(weights))


def _value(loss: Loss, weights: Array) -> float:
    with torch.no_grad():
        found = loss(torch.as_tensor(weights[None]), torch.as_tensor(_fractions(weights)))
    return float(found[0])


def _gain(judges: Sequence[Loss], before: Array, weights: Array) -> Estimate:
    """Mean gain over the judges, and a jackknife interval."""
    gains = np.array([_value(j, before) - _value(j, weights) for j in judges])
    n = len(gains)
    # Judges share most of their trials, which the jackknife's factor makes up for.
    sd = float(np.sqrt((n - 1) / n * ((gains - gains.mean()) ** 2).sum()))
    return Estimate.of(float(gains.mean()), sd)


def _schedule(space: SearchSpace, weights: Array) -> Schedule:
    return space.decode(space.rows(space.fraction_choices[0], weights.reshape(1, -1))[0])
