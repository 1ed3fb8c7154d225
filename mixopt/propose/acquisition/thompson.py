"""Thompson sampling: each schedule of a batch minimises one posterior draw of the objective."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import StudyError
from mixopt.propose.acquisition.trunk_value import Decision
from mixopt.propose.candidates.distance import NEAR, Known
from mixopt.propose.candidates.refine import own_path, refine
from mixopt.propose.candidates.starts import spread_best, starting_rows
from mixopt.propose.problem import Problem, Score, evaluate

Array = NDArray[np.float64]

#: Starts refined per draw, and moves of each.
STARTS = 3
STEPS = 40


def minimisers_of_mean(q: int, rng: np.random.Generator) -> int:
    """How many of a batch of q minimise the mean rather than a draw; of single ones, every fourth.

    Proposals made one at a time exploit as often as those of a batch of eight.
    """
    if q == 1:
        return int(rng.random() < 1 / 4)
    return 1 if q < 6 else 2


def thompson_among(
    problem: Problem, q: int, rng: np.random.Generator, known: Known, rows: Array
) -> list[Array]:
    """Thompson sampling over given rows ``n x D`` alone: none is moved, none is taken twice."""
    seed, of_mean = int(rng.integers(2**31)), minimisers_of_mean(q, rng)
    mean = evaluate(problem.penalised(problem.cautious(0.0), seed), rows)
    scores = [mean] * of_mean
    if q > of_mean:
        scores += list(evaluate(problem.drawn(q - of_mean, seed), rows))
    return [_best_new(values, rows, known) for values in scores]


def thompson(
    problem: Problem, q: int, rng: np.random.Generator, known: Known, decision: Decision
) -> list[Array]:
    """The q rows of a batch, some of them endings off known trunks where ``decision`` says so."""
    of_mean = minimisers_of_mean(q, rng)
    free, shared = starting_rows(problem, rng)
    pool = np.vstack([free, shared])
    path_seed = int(rng.integers(2**31))
    rows: list[Array] = []
    score = problem.penalised(problem.cautious(0.0), path_seed)
    values = evaluate(score, pool)
    best, _ = refine(problem.geometry, pool[spread_best(problem, pool, values, 6)], score)
    for _ in range(of_mean):
        rows.append(_next(score, best, pool, known))
    if q > of_mean:
        decision.taken(problem, rows)
        rows += _draw_minima(problem, q - of_mean, (free, shared), path_seed, known, decision)
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
    """The best row that is new: of the refined ones, else of the pool."""
    order = np.argsort(evaluate(score, first), kind="stable")
    for row in first[order]:
        if known.fresh(row):
            known.add(row)
            return np.asarray(row)
    return _best_new(evaluate(score, pool), pool, known)


def _best_new(values: Array, pool: Array, known: Known) -> Array:
    """The row of ``n x D`` with the least value that is new; the farthest where all are near."""
    gap = known.gap(pool)
    values = np.where(gap >= NEAR, values, np.inf)
    best = int(np.argmin(values)) if np.isfinite(values).any() else int(np.argmax(gap))
    if gap[best] < 1e-6:
        raise StudyError(
            "every schedule of the space was tried already, or differs from one that was by less "
            "than a millionth of the tokens",
            "loosen the bounds, or ask for fewer trials",
        )
    known.add(pool[best])
    return np.asarray(pool[best])
