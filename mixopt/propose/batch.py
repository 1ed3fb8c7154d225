"""The next batch: Thompson sampling refined by gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import StudyError
from mixopt.propose.acquisition.knowledge_gradient import worth_repeating
from mixopt.propose.acquisition.thompson import thompson, thompson_among
from mixopt.propose.acquisition.trunk_value import Decision, Sharing
from mixopt.propose.candidates.distance import Known
from mixopt.propose.candidates.starts import starting_rows
from mixopt.propose.evidence import Evidence
from mixopt.propose.problem import Problem
from mixopt.propose.torch_threads import one_thread
from mixopt.space import Objective, Schedule, SearchSpace
from mixopt.steps import step
from mixopt.surrogate.protocol import SurrogateModel

Array = NDArray[np.float64]


@one_thread
@step("proposing trials")
def propose_batch(
    space: SearchSpace,
    objective: Objective,
    surrogate: SurrogateModel,
    evidence: Evidence,
    q: int,
    *,
    pending: Sequence[Schedule] = (),
    seed: int,
    replicates: int | Literal["auto"] = 0,
    sharing: Sharing | None = None,
    candidates: Array | None = None,
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
        candidates: ``n x D`` rows to choose among where nothing else can be run, such as those of a
            table of finished runs; None for all schedules of the space.

    Returns:
        ``q`` feasible schedules, replicates first; the others are no near-duplicates of one
        another, of the evidence or of pending trials.

    Raises:
        StudyError: If a count is wrong, or there are no q new schedules.
    """
    count = 0 if isinstance(replicates, str) else replicates
    _require(q, count)
    problem = Problem.of(space, objective, surrogate, evidence)
    waiting = np.array([problem.encode(s) for s in pending]).reshape(-1, problem.X.shape[1])
    known = Known(problem.layout, np.vstack([problem.X, waiting]))
    given = None if candidates is None else candidates[:, problem.there]
    rows = _new_rows(problem, q - count, known, sharing or Sharing(), given, seed)
    again = [_incumbent(problem)] * count
    if replicates == "auto" and q > 1:
        rng = np.random.default_rng(seed)
        pool = np.vstack(starting_rows(problem, rng)) if given is None else given
        repeats, kept = worth_repeating(problem, np.array(rows), pool, seed, q // 2)
        again, rows = list(repeats), [rows[i] for i in kept]
    return [problem.decode(row) for row in [*again, *rows]]


def _new_rows(
    problem: Problem, q: int, known: Known, sharing: Sharing, given: Array | None, seed: int
) -> list[Array]:
    rng = np.random.default_rng(seed)
    if q == 0:
        return []
    if given is not None:
        return thompson_among(problem, q, rng, known, given)
    trained = [problem.decode(row) for row in known.X]
    return thompson(problem, q, rng, known, Decision(sharing, trained, seed))


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
