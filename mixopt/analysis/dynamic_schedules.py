"""Many short phases as the limit: schedules of 1, 2, 3, ... phases, and when more stop paying.

Ye et al. (arXiv 2403.16952) name dynamic schedules as the outlook of their laws. A law of phases
(:mod:`mixopt.laws.phases`) sees a schedule through the recency-weighted mixture of each metric, so
one that was fitted to two phases predicts any number. The number grows greedily: each phase in turn
is split in two, the split that pays most is kept, and then all weights and all boundaries move
together, with a penalty on jumps. So more phases are never worse under the law that is optimised.
Whether they are better is told by laws that were fitted without some of the trials.

The first number is one phase under the rules of the space's first; then come the space's own
phases. A phase that is split passes its rules on to both halves, whose fractions together stay
within what the space allows the phase they came from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from mixopt.analysis.phase_laws import Loss
from mixopt.analysis.phase_limits import LEAST, phase_space, token_polytope
from mixopt.errors import StudyError
from mixopt.propose.recommendation import Estimate
from mixopt.propose.torch_threads import one_thread
from mixopt.space import (
    Frozen,
    Polytope,
    Schedule,
    SearchSpace,
    geometry_of,
)
from mixopt.steps import step

Array = NDArray[np.float64]

Score2 = Callable[[Tensor, Tensor], Tensor]

#: Random starts beside the split one.
STARTS = 6
#: Iterations of a whole optimisation, and of a split that is tried.
STEPS, TRY_STEPS = 100, 15
#: What a gain of nothing may come to (nats/token).
ROUNDING = 1e-6


class PhaseCount(Frozen):
    """The best schedule of so many phases.

    Attributes:
        phases: Their number.
        schedule: The best found; its fractions are free.
        rules: Per phase, the space's phase whose rules it keeps.
        predicted: Its objective under the law that was optimised (nats/token).
        gain: Objective with the last smaller number that pays minus this one, under laws fitted
            without some of the trials; its interval is theirs. Zero for the first.
        pays: Whether the gain is clear of 0 and at least what is asked for.
    """

    phases: int
    schedule: Schedule
    rules: tuple[str, ...]
    predicted: float
    gain: Estimate
    pays: bool


class DynamicSchedules(Frozen):
    """Schedules of more and more phases.

    Attributes:
        smoothness: Price of jumps that was used.
        worth: Least gain that counts (nats/token).
        counts: In rising number of phases.
        enough: The last number that pays.
    """

    smoothness: float
    worth: float
    counts: tuple[PhaseCount, ...]
    enough: int


@one_thread
@step("splitting phases")
def dynamic_schedules(
    space: SearchSpace,
    losses: Sequence[Loss],
    *,
    most: int = 6,
    smoothness: float = 0.0,
    worth: float = 0.0,
    seed: int = 0,
) -> DynamicSchedules:
    """Optimise schedules of 1, then of the space's phases, then of one more each time.

    Args:
        space: Its domains, the rules of its phases (mixtures that are fixed or tied are set free),
            the fractions they may take together, epoch caps over the whole run.
        losses: The law to optimise, then two or more that cross-validate the gains.
        most: Number of phases to stop at.
        smoothness: Price per squared change of the weights between neighbours (nats/token).
        worth: Least gain that counts; the noise of an observation is a good one.
        seed: Of the random starts.

    Raises:
        StudyError: If there are fewer than three laws, or a number is negative.
        InfeasibleError: If the space allows no static mixture.
    """
    if len(losses) < 3 or most < 1 or smoothness < 0 or worth < 0:
        raise StudyError(
            "dynamic schedules need a law and two that cross-validate it, one phase at least, and "
            f"numbers that are not negative; got {len(losses)} laws, {most} phases, smoothness "
            f"{smoothness:g} and worth {worth:g}",
            "these are laws fitted without some of the trials",
        )
    rng = np.random.default_rng(seed)
    score = _scored(losses[0], smoothness)
    plans: list[_Plan] = []
    while len(plans) == 0 or plans[-1].phases < most:
        plan = _grown(space, plans[-1] if plans else None, score, most, rng)
        if plan is None:
            break
        plans.append(plan)
    counts: list[PhaseCount] = []
    paid: _Plan | None = None
    for plan in plans:
        counts.append(_counted(space, plan, paid, losses, worth))
        paid = plan if counts[-1].pays else paid
    assert paid is not None, "the first always counts as paying"
    return DynamicSchedules(
        smoothness=smoothness, worth=worth, counts=tuple(counts), enough=paid.phases
    )


@dataclass(frozen=True)
class _Plan:
    """A schedule as the share of all tokens per phase and domain, ``P x d``; and whose rules.

    In these numbers fractions (sums over domains), weights (shares of those sums), bounds, caps on
    epochs and ranges of fractions are all linear, which they are not in weights and fractions.
    """

    owners: tuple[int, ...]
    tokens: Array

    @property
    def phases(self) -> int:
        return len(self.owners)

    @property
    def F(self) -> Array:
        return np.asarray(self.tokens.sum(-1))

    @property
    def W(self) -> Array:
        return np.asarray(self.tokens / self.tokens.sum(-1, keepdims=True))

    def split(self, at: int) -> _Plan:
        """The same schedule with one phase cut in half."""
        tokens = np.insert(self.tokens, at, self.tokens[at], axis=0)
        tokens[at : at + 2] /= 2
        return _Plan((*self.owners[: at + 1], *self.owners[at:]), tokens)


def _grown(
    space: SearchSpace, before: _Plan | None, score: Score2, most: int, rng: np.random.Generator
) -> _Plan | None:
    """The best schedule of the next number of phases; None where no phase can be split."""
    if before is None:
        return _from_random(space, (0,), score, rng, None)
    every = tuple(range(len(space.phases)))
    if before.phases == 1 and 1 < len(every) <= most:
        return _from_random(space, every, score, rng, before)
    splits = [before.split(i) for i in range(before.phases) if before.F[i] >= 2 * LEAST]
    if not splits:
        return None
    found = []
    for owners in sorted({split.owners for split in splits}):
        starts = np.array([s.tokens for s in splits if s.owners == owners])
        tokens, values = _optimised(token_polytope(space, owners), starts, score, TRY_STEPS)
        best = int(np.argmin(values))
        found.append((values[best], owners, tokens[best]))
    _, owners, tokens = min(found, key=lambda one: one[0])
    end, _ = _optimised(token_polytope(space, owners), tokens[None], score, STEPS)
    return _Plan(owners, end[0])


def _from_random(
    space: SearchSpace,
    owners: tuple[int, ...],
    score: Score2,
    rng: np.random.Generator,
    before: _Plan | None,
) -> _Plan:
    """The best of optimisations from random schedules, and from the static one."""
    polytope = token_polytope(space, owners)
    polytope.require_feasible(f"the space {space.name!r}")
    starts = polytope.sample(STARTS, rng).reshape(STARTS, len(owners), -1)
    if before is not None:
        share = starts.mean(0).sum(-1, keepdims=True)
        starts = np.concatenate([starts, (share * before.W)[None]])
    tokens, values = _optimised(polytope, starts, score, STEPS)
    return _Plan(owners, tokens[int(np.argmin(values))])


def _scored(loss: Loss, smoothness: float) -> Score2:
    def score(W: Tensor, F: Tensor) -> Tensor:
        jumps = ((W[:, 1:] - W[:, :-1]) ** 2).sum((1, 2))
        value: Tensor = loss(W, F) + smoothness * jumps
        return value

    return score


def _optimised(polytope: Polytope, starts: Array, score: Score2, steps: int) -> tuple[Array, Array]:
    """Descend from ``n x P x d`` tokens: points no worse than the starts, and their scores."""
    inside = polytope.project(starts.reshape(len(starts), -1))
    found = [_descended(polytope, x, starts.shape[1:], score, steps) for x in inside]
    tokens = np.array([x for x, _ in found]).reshape(starts.shape)
    return tokens, np.array([value for _, value in found])


def _descended(
    polytope: Polytope, start: Array, shape: tuple[int, ...], score: Score2, steps: int
) -> tuple[Array, float]:
    """Sequential quadratic programming in the directions that the equalities leave."""
    tangent = polytope.tangent
    A, room = polytope.A @ tangent, polytope.b - polytope.A @ start

    def value(u: Array) -> tuple[float, Array]:
        tokens = torch.tensor((start + tangent @ u).reshape(1, *shape), requires_grad=True)
        # A line search may step out a little; weights stay weights, and their slopes are kept.
        positive = tokens + (tokens.clamp_min(0.0) - tokens).detach()
        F = positive.sum(-1)
        at = score(positive / F[..., None], F)
        torch.autograd.backward(at.sum())
        assert tokens.grad is not None, "the score depends on the tokens"
        slope = np.nan_to_num(tokens.grad.numpy().reshape(-1), posinf=1e6, neginf=-1e6)
        return float(at.detach()[0]), slope @ tangent

    limits: Any = {"type": "ineq", "fun": lambda u: room - A @ u, "jac": lambda _: -A}
    zero = np.zeros(tangent.shape[1])
    options: Any = {"maxiter": steps, "ftol": 1e-9}
    descend: Any = minimize
    end = descend(value, zero, jac=True, method="SLSQP", constraints=[limits], options=options)
    good = np.isfinite(end.x).all()
    moved = polytope.project((start + tangent @ end.x)[None])[0] if good else start
    both = [(start, value(zero)[0]), (moved, value((moved - start) @ tangent)[0])]
    return min(both, key=lambda one: one[1])


def _counted(
    space: SearchSpace, plan: _Plan, before: _Plan | None, losses: Sequence[Loss], worth: float
) -> PhaseCount:
    gain = Estimate.of(0.0, 0.0) if before is None else _gain(losses[1:], before, plan)
    return PhaseCount(
        phases=plan.phases,
        schedule=_schedule(space, plan),
        rules=tuple(space.phases[p].name for p in plan.owners),
        predicted=_value(losses[0], plan),
        gain=gain,
        pays=before is None or (gain.low > ROUNDING and gain.mean >= worth),
    )


def _value(loss: Loss, plan: _Plan) -> float:
    with torch.no_grad():
        found = loss(torch.as_tensor(plan.W[None]), torch.as_tensor(plan.F[None]))
    return float(found[0])


def _gain(others: Sequence[Loss], before: _Plan, plan: _Plan) -> Estimate:
    """Mean gain over laws fitted without a fold of the trials, and a jackknife interval."""
    gains = np.array([_value(law, before) - _value(law, plan) for law in others])
    n = len(gains)
    # The laws share most of their trials, which the jackknife's factor makes up for.
    sd = float(np.sqrt((n - 1) / n * ((gains - gains.mean()) ** 2).sum()))
    return Estimate.of(float(gains.mean()), sd)


def _schedule(space: SearchSpace, plan: _Plan) -> Schedule:
    spread = geometry_of(phase_space(space, plan.owners))
    F = np.round(plan.F, 6)
    F[-1] = 1 - F[:-1].sum()
    row = spread.without_specks(spread.rows(F.tolist(), plan.W.reshape(1, -1)))[0]
    return spread.decode(row)
