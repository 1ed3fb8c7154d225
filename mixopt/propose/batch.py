"""The next batch: Thompson sampling refined by gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import StudyError
from mixopt.propose.acquisition.knowledge_gradient import worth_repeating
from mixopt.propose.acquisition.trunk_value import Decision, Sharing
from mixopt.propose.candidates.distance import NEAR, Known, schedule_distance
from mixopt.propose.candidates.pool import around, draws, endings, trunks
from mixopt.propose.candidates.refine import own_path, refine
from mixopt.propose.evidence import Evidence
from mixopt.propose.problem import Problem, Score, SurrogateLike, evaluate
from mixopt.propose.torch_threads import one_thread
from mixopt.space import Objective, Schedule, SearchSpace

Array = NDArray[np.float64]

#: Starts refined per sample path, and moves of each.
STARTS = 3
STEPS = 40


@one_thread
def propose_batch(
    space: SearchSpace,
    objective: Objective,
    surrogate: SurrogateLike,
    evidence: Evidence,
    q: int,
    *,
    pending: Sequence[Schedule] = (),
    seed: int,
    replicates: int | Literal["auto"] = 0,
    sharing: Sharing | None = None,
) -> list[Schedule]:
    """The next q schedules to try: Thompson sampling.

    Each is the minimiser of a posterior draw of the objective, found by projected gradient; one or
    two of a batch minimise its mean.

    Args:
        space: What can be chosen.
        objective: To minimise; its guardrails are chance constraints.
        surrogate: Fitted to the evidence.
        evidence: Finished trials.
        q: How many schedules.
        pending: Trials in flight, not to be repeated.
        seed: Of the draws; the same seed gives the same batch.
        replicates: How many of the q repeat the trial that looks best so far, with a fresh seed;
            ``auto`` for up to half of them, each a leading trial, where noise decides between the
            leaders and the knowledge gradient prefers a repetition to a new schedule.
        sharing: What earlier runs leave to branch off; by default a checkpoint where their phases
            meet. The ending off a known trunk is taken instead of a draw's minimiser where its
            expected improvement per token to be trained is higher.

    Returns:
        ``q`` feasible schedules, replicates first; the others are no near-duplicates of one
        another, of the evidence or of pending trials.

    Raises:
        StudyError: If a count is wrong, or the space has no q new schedules.
    """
    count = 0 if isinstance(replicates, str) else replicates
    _require(q, count)
    problem = Problem.of(space, objective, surrogate, evidence)
    rng = np.random.default_rng(seed)
    waiting = np.array([problem.encode(s) for s in pending]).reshape(-1, problem.X.shape[1])
    known = Known(problem.layout, np.vstack([problem.X, waiting]))
    again = [_incumbent(problem)] * count
    fresh = q - count
    rows: list[Array] = []
    if fresh:
        trained = [problem.decode(row) for row in known.X]
        decision = Decision(sharing or Sharing(), trained, seed)
        rows = _thompson(problem, fresh, rng, known, decision)
    if replicates == "auto" and q > 1:
        pool = np.vstack(candidates(problem, np.random.default_rng(seed)))
        repeats, kept = worth_repeating(problem, np.array(rows), pool, seed, q // 2)
        again, rows = list(repeats), [rows[i] for i in kept]
    return [problem.decode(row) for row in [*again, *rows]]


def _require(q: int, count: int) -> None:
    if q < 1 or not 0 <= count <= q:
        raise StudyError(
            f"a batch needs at least one trial and no more replicates than trials; got {q} trials "
            f"and {count} replicates",
            "ask for at least one",
        )


def _incumbent(problem: Problem) -> Array:
    """The observed row with the least expected objective."""
    mean, _ = problem.expected(problem.X)
    return np.asarray(problem.X[int(np.argmin(mean))])


def candidates(problem: Problem, rng: np.random.Generator, n: int = 1024) -> tuple[Array, Array]:
    """Feasible rows to start from, and those of them that share a trunk with the best observed."""
    geometry = problem.geometry
    mean, _ = problem.expected(problem.X)
    best = problem.X[np.argsort(mean)[:5]]
    inside = _feasible(problem, np.vstack([problem.X, problem.baseline[None]]))
    free = [draws(geometry, n, rng), around(geometry, best, n // 2, rng), inside]
    shared = [np.empty((0, geometry.layout.dim))]
    if geometry.layout.phases > 1:
        d = geometry.layout.domains
        cut = (geometry.layout.phases - 1) * d
        centers = np.vstack([best[:, cut : cut + d], np.full((1, d), 1 / d)])
        known = np.vstack([best[:2], problem.baseline[None]])
        for first in np.unique(trunks(geometry, known), axis=0, return_index=True)[1]:
            shared.append(endings(geometry, known[first], n // 8, rng, centers))
    return np.vstack(free), np.vstack(shared)


def _feasible(problem: Problem, X: Array) -> Array:
    """The rows that the space allows: attached trials may lie outside."""
    _, F = problem.layout.split(X)
    k = len(problem.space.phases) * len(problem.space.names)
    choices = set(problem.geometry.fraction_choices)
    good = []
    for row, f in zip(X, F, strict=True):
        key = tuple(round(float(v), 10) for v in f)
        inside = (np.abs(problem.layout.rate_part(row) - 0.5) <= 0.5 + 1e-9).all()
        if (
            inside
            and key in choices
            and problem.geometry.polytope(key).violation(row[None, :k])[0] < 1e-6
        ):
            good.append(row)
    return np.array(good).reshape(-1, X.shape[1])


def spread_best(problem: Problem, X: Array, values: Array, n: int, apart: float = 0.05) -> Array:
    """Row numbers of the n best rows that are some way apart from one another."""
    order = np.argsort(values, kind="stable")[: 40 * n]
    picked = [int(order[0])]
    for i in order[1:]:
        if len(picked) == n:
            break
        if schedule_distance(problem.layout, X[[i]], X[picked]).min() > apart:
            picked.append(int(i))
    return np.array(picked)


def _thompson(
    problem: Problem, q: int, rng: np.random.Generator, known: Known, decision: Decision
) -> list[Array]:
    exploiting = 0 if q == 1 else (1 if q < 6 else 2)
    free, shared = candidates(problem, rng)
    pool = np.vstack([free, shared])
    path_seed = int(rng.integers(2**31))
    rows: list[Array] = []
    score = problem.penalised(problem.cautious(0.0), path_seed)
    values = evaluate(score, pool)
    best, _ = refine(problem.geometry, pool[spread_best(problem, pool, values, 6)], score)
    for _ in range(exploiting):
        rows.append(_next(score, best, pool, known))
    if q > exploiting:
        decision.taken(problem, rows)
        rows += _draw_minima(problem, q - exploiting, (free, shared), path_seed, known, decision)
    return rows


def _draw_minima(
    problem: Problem,
    num: int,
    pools: tuple[Array, Array],
    seed: int,
    known: Known,
    decision: Decision,
) -> list[Array]:
    """One schedule per draw of the objective: its minimiser, or the ending that pays more."""
    free, shared = pools
    pool = np.vstack(pools)
    paths = problem.drawn(num, seed)
    values = evaluate(paths, pool)
    cheap = len(shared) > 0 and decision.sharing.possible
    starts: list[Array] = []
    for i in range(num):
        starts.append(pool[spread_best(problem, pool, values[i], STARTS)])
        if cheap:
            at = values[i, len(free) :]
            starts.append(shared[spread_best(problem, shared, at, STARTS)])
    sides = [len(part) for part in starts]
    number = np.arange(len(starts))
    owner = np.repeat(number // (1 + cheap), sides)
    kept = np.repeat(cheap & (number % 2 == 1), sides)
    X, _ = refine(
        problem.geometry, np.vstack(starts), own_path(paths, owner), keep_trunk=kept, steps=STEPS
    )
    rows = []
    for i in range(num):
        one = own_path(paths, np.array([i]))
        both = [X[(owner == i) & ~kept], X[(owner == i) & kept]]
        row = _next(one, _paying(problem, decision, one, both), pool, known)
        decision.taken(problem, [row])
        rows.append(row)
    return rows


def _paying(problem: Problem, decision: Decision, score: Score, both: list[Array]) -> Array:
    """The free rows, or those off known trunks where their best has more gain per token.

    The first draw of a batch stays free: endings off known trunks alone can all lie off a bad one.
    """
    if decision.first() or not len(both[1]):
        return both[0]
    best = np.array([part[int(np.argmin(evaluate(score, part)))] for part in both])
    worth = decision.gain_per_share(problem, best)
    return both[int(worth[1] > worth[0])]


def _next(score: Score, first: Array, pool: Array, known: Known) -> Array:
    """The best row that is new: of the refined ones, else of the pool, else the farthest."""
    order = np.argsort(evaluate(score, first), kind="stable")
    for row in first[order]:
        if known.fresh(row):
            known.add(row)
            return np.asarray(row)
    gap = known.gap(pool)
    values = np.where(gap >= NEAR, evaluate(score, pool), np.inf)
    best = int(np.argmin(values)) if np.isfinite(values).any() else int(np.argmax(gap))
    if gap[best] < 1e-6:
        raise StudyError(
            "every schedule of the space was tried already, or differs from one that was by less "
            "than a millionth of the tokens",
            "loosen the bounds, or ask for fewer trials",
        )
    known.add(pool[best])
    return np.asarray(pool[best])
