"""When more trials no longer pay."""

from __future__ import annotations

import numpy as np

from mixopt.propose.candidates.refine import refine
from mixopt.propose.candidates.starts import spread_best, starting_rows
from mixopt.propose.evidence import Evidence
from mixopt.propose.problem import Problem, evaluate
from mixopt.propose.torch_threads import one_thread
from mixopt.space import Frozen, Objective, SearchSpace
from mixopt.surrogate.protocol import SurrogateModel

#: Draws of the objective over which the regret is averaged.
DRAWS = 128

#: Regret that is still worth trials, in standard deviations of one trial's noise.
WORTH = 0.5

#: Out-of-fold rank correlation below which a surrogate is not trusted to say stop.
TRUSTED = 0.5


class StopDecision(Frozen):
    """Whether to stop, and why.

    Attributes:
        stop: True when another trial is not worth its cost.
        reason: One sentence with the figures.
        expected_regret: Objective of the schedule that looks best now minus that of the best one,
            on average over the posterior (nats/token).
        noise: Standard deviation of one observation of the objective (nats/token).
    """

    stop: bool
    reason: str
    expected_regret: float
    noise: float


@one_thread
def expected_regret(
    space: SearchSpace,
    objective: Objective,
    surrogate: SurrogateModel,
    evidence: Evidence,
    *,
    seed: int,
) -> float:
    """How much worse the schedule with the least expected objective is than the best one.

    The mean over posterior draws of the objective of the draw at that schedule minus the draw's
    least value among the candidates; at least 0 (nats/token). Candidates are draws from the space,
    neighbours of good trials and endings off known trunks. Descending each draw to a minimum of its
    own makes it three times too large, since draws are rougher than losses.
    """
    return _regret(Problem.of(space, objective, surrogate, evidence), seed)


def _regret(problem: Problem, seed: int) -> float:
    rng = np.random.default_rng(seed)
    pool = np.vstack(starting_rows(problem, rng))
    score = problem.penalised(problem.cautious(0.0), seed)
    start = pool[spread_best(problem, pool, evaluate(score, pool), 4)]
    X, value = refine(problem.geometry, start, score)
    chosen = X[[int(np.argmin(value))]]
    drawn = problem.drawn(DRAWS, int(rng.integers(2**31)))
    values = evaluate(drawn, np.vstack([chosen, pool]))
    return float((values[:, 0] - values.min(1)).mean())


@one_thread
def should_stop(
    space: SearchSpace,
    objective: Objective,
    surrogate: SurrogateModel,
    evidence: Evidence,
    *,
    seed: int,
    minimum: int | None = None,
    factor: float = WORTH,
) -> StopDecision:
    """Stop when the expected regret falls below half the noise of one trial.

    Args:
        space: What can be chosen.
        objective: To minimise.
        surrogate: Fitted to the evidence.
        evidence: Finished trials.
        seed: Of the draws.
        minimum: Different trials below which a surrogate is not trusted to say stop; by default
            three more than the free directions of the space, at least 12.
        factor: Regret that is still worth trials, in standard deviations of the noise.

    Returns:
        The decision, with one sentence that gives its figures.
    """
    problem = Problem.of(space, objective, surrogate, evidence)
    least = max(12, _directions(problem) + 3) if minimum is None else minimum
    regret, noise = _regret(problem, seed), problem.noise
    seen = len(np.unique(np.round(problem.X, 6), axis=0))
    rank = problem.ranking()
    figures = f"an expected regret of {regret:.4f} against a noise of {noise:.4f} per trial"
    if regret >= factor * noise:
        stop, reason = False, f"more trials pay: {figures}"
    elif rank is not None and rank < TRUSTED:
        stop = False
        reason = f"{figures}, but a rank correlation of {rank:.2f} out of fold is too low to trust"
    elif seen < least:
        stop = False
        reason = f"{figures}, but {seen} different trials are too few to trust (least {least})"
    else:
        stop, reason = True, f"more trials no longer pay: {figures}"
    return StopDecision(stop=stop, reason=reason, expected_regret=regret, noise=noise)


def _directions(problem: Problem) -> int:
    geometry = problem.geometry
    return max(int(geometry.polytope(c).tangent.shape[1]) for c in geometry.fraction_choices)
