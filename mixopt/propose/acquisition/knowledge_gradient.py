"""Which slots of a batch repeat a leading schedule: where noise decides, not ignorance.

Notation: mu, C the mean and covariance of the objective at the n schedules of a menu; lambda the
variance of one observation. Observing schedule i moves the means by s_i Z with
s_i = C[:, i] / sqrt(C[i, i] + lambda); its value is the expected fall of the least mean, the
knowledge gradient (Frazier, Powell & Dayanik 2009).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixopt.propose.problem import KEPT, Problem, evaluate

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Observed schedules that may be repeated, and others the best is chosen among.
LEADERS = 4
CHOICES = 48

#: Least noise of one trial, as a share of what the trials differ by, for noise to be what decides.
#: Below it new schedules near the best tell as much as repetitions, and more about the surface.
NOISY = 0.5

#: Draws from which the covariance is taken, and nodes of the expectation over Z.
DRAWS = 512
NODES = 64

_Z = np.linspace(-3.5, 3.5, NODES)
_P = np.exp(-0.5 * _Z**2) / np.exp(-0.5 * _Z**2).sum()


def leaders(problem: Problem, seed: int) -> Array:
    """The observed rows ``<= k x D`` of least expected objective that keep the guardrails."""
    X = np.unique(problem.X, axis=0)
    X = X[evaluate(problem.broken(seed), X) <= KEPT]
    if not len(X):
        return X
    mean, _ = problem.expected(X)
    return X[np.argsort(mean, kind="stable")[:LEADERS]]


def worth_repeating(
    problem: Problem, fresh: Array, pool: Array, seed: int, most: int
) -> tuple[Array, Ints]:
    """Fill a batch by the knowledge gradient from new schedules and leading observed ones.

    Args:
        problem: Its surrogate's draws give the covariance.
        fresh: ``q x D`` new schedules.
        pool: ``n x D`` further schedules that could be the best.
        seed: Of the draws.
        most: Greatest number of slots that repeat.

    Returns:
        Rows to repeat, and the numbers of the new schedules they leave a slot to.
    """
    nothing = fresh[:0], np.arange(len(fresh))
    if most < 1 or problem.noise < NOISY * problem.y.std():
        return nothing
    known = leaders(problem, seed)
    if not len(known):
        return nothing
    mean, _ = problem.expected(pool)
    others = pool[np.argsort(mean, kind="stable")[:CHOICES]]
    menu = np.vstack([fresh, known, others])
    mu, _ = problem.expected(menu)
    C = np.cov(evaluate(problem.drawn(DRAWS, seed), menu).T)
    left, again = list(range(len(fresh))), list[int]()
    for _ in range(len(fresh)):
        repeats = list(range(len(fresh), len(fresh) + len(known))) if len(again) < most else []
        options = left + repeats
        spread = np.maximum(np.diag(C), 0.0)[options]
        steps = C[:, options] / np.sqrt(spread + problem.noise**2 + 1e-18)
        best = int(np.argmax(_value(mu, steps)))
        chosen = options[best]
        C = C - np.outer(steps[:, best], steps[:, best])
        if chosen < len(fresh):
            left.remove(chosen)
        else:
            again.append(chosen)
    kept = np.array([i for i in range(len(fresh)) if i not in left], dtype=np.int64)
    return menu[again].reshape(-1, menu.shape[1]), kept


def _value(mu: Array, steps: Array) -> Array:
    """Knowledge gradient of each of ``n x k`` steps."""
    after = (mu[:, None, None] + steps[:, :, None] * _Z).min(0) @ _P
    return np.asarray(mu.min() - after)
