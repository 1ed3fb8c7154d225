"""General against target ability over the upsample fraction, and what a guardrail picks.

Every upsample fraction that the space allows gets its own curve: the last-phase mixtures that trade
the target metrics for the general ones at that length. Differences from the baseline are taken draw
by draw, so that what is uncertain about both alike cancels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixopt.errors import StudyError
from mixopt.propose.candidates.refine import refine
from mixopt.propose.candidates.starts import starting_rows
from mixopt.propose.evidence import Evidence
from mixopt.propose.problem import Problem
from mixopt.propose.recommendation import Estimate
from mixopt.propose.torch_threads import one_thread
from mixopt.space import Frozen, Geometry, Objective, Schedule, SearchSpace
from mixopt.steps import step
from mixopt.surrogate.protocol import SurrogateModel

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Weight of the general metrics in the scores that trace a curve.
SHARES = (0.0, 0.15, 0.3, 0.45, 0.6, 0.8, 1.0)
#: Mixtures between two neighbours of a curve; the weights at given fractions form a convex set.
BETWEEN = 4
#: Posterior draws behind intervals and probabilities.
DRAWS = 512


class Choice(Frozen):
    """A schedule on the trade-off.

    Attributes:
        upsample_fraction: Share of the tokens in the last phase.
        schedule: It.
        target: Target metrics minus the baseline's, weighted (nats/token); negative is a gain.
        general: General metrics minus the baseline's, weighted; positive is a loss.
        probability: That the general loss stays within the slack.
    """

    upsample_fraction: float
    schedule: Schedule
    target: Estimate
    general: Estimate
    probability: float


class TradeOff(Frozen):
    """What every upsample fraction offers, and what the guardrail picks.

    Attributes:
        target_weights: Of the target metrics.
        general_weights: Of the general metrics.
        slack: Allowed rise of the general loss over the baseline's (nats/token).
        confidence: Probability asked for.
        levels: Per upsample fraction, the largest target gain within the slack; where none is
            within it, the most likely to be.
        chosen: The largest target gain within the slack; the baseline where there is none.
        pareto: Choices that no other betters in both, best target first.
    """

    target_weights: dict[str, float]
    general_weights: dict[str, float]
    slack: float
    confidence: float
    levels: tuple[Choice, ...]
    chosen: Choice
    pareto: tuple[Choice, ...]


@dataclass(frozen=True)
class _Drawn:
    """Rows ``n x D`` with their differences from the baseline, ``draws x n`` each."""

    X: Array
    level: Array
    target: Array
    general: Array
    probability: Array


@one_thread
@step("weighing target against general ability")
def trade_off(
    space: SearchSpace,
    surrogate: SurrogateModel,
    evidence: Evidence,
    *,
    target: Mapping[str, float],
    general: Mapping[str, float],
    slack: float,
    confidence: float = 0.9,
    seed: int = 0,
) -> TradeOff:
    """Trace general against target ability at every upsample fraction.

    Args:
        space: What can be chosen.
        surrogate: Fitted to the evidence.
        evidence: Finished trials.
        target: Weights of the metrics to gain on, summing to 1.
        general: Weights of the metrics to keep, summing to 1.
        slack: Allowed rise of the general loss over the baseline's (nats/token).
        confidence: Probability with which it must stay within.
        seed: Of the draws.

    Raises:
        StudyError: If the slack or confidence is out of range, or a metric was not measured.
        SpaceError: If weights do not sum to 1.
    """
    if not (slack >= 0 and 0 < confidence < 1):
        raise StudyError(
            f"the slack must be at least 0 and the confidence between 0 and 1; got {slack:g} and "
            f"{confidence:g}",
            "a slack of 0.02 nats/token and a confidence of 0.9 are usual",
        )
    wanted = Objective(weights=dict(target)), Objective(weights=dict(general))
    problem = Problem.of(space, wanted[0], surrogate, evidence)
    columns = np.stack([evidence.coefficients(o) for o in wanted], axis=1)
    rng = np.random.default_rng(seed)
    pool = np.vstack(starting_rows(problem, rng, 512))
    rows = _between(problem.original, *_curves(problem, pool, columns))
    drawn = _draws(problem, np.vstack([problem.baseline, rows]), columns, slack, seed)
    good = drawn.probability >= confidence
    picks = [_best(drawn, good, np.flatnonzero(drawn.level == v)) for v in np.unique(drawn.level)]
    within = np.append(np.flatnonzero(good), 0)
    chosen = int(within[np.argmin(drawn.target.mean(0)[within])])
    return TradeOff(
        target_weights=dict(target),
        general_weights=dict(general),
        slack=slack,
        confidence=confidence,
        levels=tuple(_choice(problem, drawn, i) for i in picks),
        chosen=_choice(problem, drawn, chosen),
        pareto=tuple(_choice(problem, drawn, i) for i in _front(drawn)),
    )


def _levels(geometry: Geometry, X: Array) -> Array:
    """Upsample fraction of each row, 0 where it has one phase."""
    F = geometry.layout.split(X)[1]
    there = F > 1e-9
    last = F.shape[1] - 1 - np.argmax(there[:, ::-1], axis=1)
    return np.where(there.sum(1) == 1, 0.0, np.round(F[np.arange(len(F)), last], 10))


def _means(problem: Problem, X: Tensor, columns: Tensor) -> Tensor:
    """Predicted target and general loss, ``n x D -> n x 2``, differentiable."""
    if not X.requires_grad:
        return torch.as_tensor(problem.moments(X.detach().numpy())[0]) @ columns
    mean: Tensor = problem.surrogate.posterior(X[:, None, problem.back]).mean[:, 0, :]
    return mean @ columns


def _curves(problem: Problem, pool: Array, columns: Array) -> tuple[Array, Array]:
    """Minimisers ``n x D`` of every share of the general loss at every level; the shares ``n``."""
    w = torch.as_tensor(columns)
    with torch.no_grad():
        value = _means(problem, torch.as_tensor(pool), w).numpy()
    level = _levels(problem.geometry, pool)
    starts, shares = [], []
    for at in np.unique(level):
        rows = np.flatnonzero(level == at)
        for share in SHARES:
            score = value[rows] @ [1 - share, share]
            starts.append(pool[rows[np.argmin(score)]])
            shares.append(share)
    mix = torch.as_tensor(np.stack([1 - np.array(shares), shares], axis=1))
    X, _ = refine(
        problem.geometry,
        np.array(starts),
        lambda X: (_means(problem, X, w) * mix).sum(1),
        steps=40,
    )
    return X, np.array(shares)


def _between(geometry: Geometry, X: Array, shares: Array) -> Array:
    """The curves with mixtures between neighbours of the same fractions added."""
    out = [X]
    for i in range(len(X) - 1):
        same = np.allclose(geometry.layout.split(X[i : i + 2])[1].std(0), 0)
        if same and shares[i + 1] > shares[i]:
            step = np.linspace(0, 1, BETWEEN + 2)[1:-1, None]
            out.append((1 - step) * X[i] + step * X[i + 1])
    return np.vstack(out)


def _draws(problem: Problem, X: Array, columns: Array, slack: float, seed: int) -> _Drawn:
    """Differences from the first row, the baseline."""
    path = problem.paths(DRAWS, seed)
    with torch.no_grad():
        values = path(torch.as_tensor(X)).numpy() @ columns
    gap = values - values[:, :1]
    return _Drawn(
        X=X,
        level=_levels(problem.geometry, X),
        target=gap[..., 0],
        general=gap[..., 1],
        probability=(gap[..., 1] <= slack + 1e-9).mean(0),
    )


def _best(drawn: _Drawn, good: NDArray[np.bool_], rows: Ints) -> int:
    if good[rows].any():
        rows = rows[good[rows]]
        return int(rows[np.argmin(drawn.target.mean(0)[rows])])
    return int(rows[np.argmax(drawn.probability[rows])])


def _front(drawn: _Drawn, most: int = 12) -> list[int]:
    """Rows no other betters in both means, spread evenly along the front."""
    t, g = drawn.target.mean(0), drawn.general.mean(0)
    order = np.lexsort((g, t))
    front, least = [], np.inf
    for i in order:
        if g[i] < least - 1e-9:
            front.append(int(i))
            least = g[i]
    keep = np.unique(np.round(np.linspace(0, len(front) - 1, min(most, len(front)))).astype(int))
    return [front[k] for k in keep]


def _choice(problem: Problem, drawn: _Drawn, i: int) -> Choice:
    return Choice(
        upsample_fraction=float(drawn.level[i]),
        schedule=problem.decode(drawn.X[i]),
        target=_estimate(drawn.target[:, i]),
        general=_estimate(drawn.general[:, i]),
        probability=float(drawn.probability[i]),
    )


def _estimate(draws: Array) -> Estimate:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(mean=draws.mean(), sd=draws.std(ddof=1), low=low, high=high)
