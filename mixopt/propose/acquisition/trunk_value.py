"""Whether a trial that can reuse a trunk is worth more than a free one, for what it costs.

Worth is the expected improvement on the best schedule known: the mean over joint posterior draws of
how far a schedule lies under the least of all those tried or already chosen for the batch, each in
the same draw. Cost is the share of the run that has to be trained once the checkpoints of earlier
runs, and of those chosen for the batch, are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixopt.propose.problem import Problem, Score, evaluate
from mixopt.space import Schedule
from mixopt.space.sharing import share_to_train

Array = NDArray[np.float64]

#: Joint draws over which the improvement is averaged.
DRAWS = 64


@dataclass(frozen=True)
class Sharing:
    """What earlier runs leave for later ones to branch off.

    Args:
        possible: Whether the trainer branches at all.
        branch_points: Shares of the run at which every run leaves a checkpoint, besides where its
            phases meet.
    """

    possible: bool = True
    branch_points: tuple[float, ...] = ()


@dataclass
class Decision:
    """The value of candidates per token to be trained, as a batch grows.

    Args:
        sharing: What can be reused.
        trained: Schedules that were tried, or are about to be.
        seed: Of the draws.
    """

    sharing: Sharing
    trained: Sequence[Schedule]
    seed: int = 0
    _asked: int = field(default=0, repr=False)
    _paths: Score | None = field(default=None, repr=False)
    _least: Array = field(default_factory=lambda: np.empty(0), repr=False)

    def taken(self, problem: Problem, rows: Sequence[Array]) -> None:
        """Count rows ``D`` as chosen: they leave trunks, and only what they miss is a gain."""
        if not rows or not self.sharing.possible or len(problem.space.phases) == 1:
            return
        self.trained = [*self.trained, *(problem.decode(row) for row in rows)]
        self._least = np.minimum(self._known(problem), self._drawn(problem, np.array(rows)).min(1))

    def first(self) -> bool:
        """Whether this is the first choice of the batch."""
        self._asked += 1
        return self._asked == 1

    def gain_per_share(self, problem: Problem, rows: Array) -> Array:
        """Expected improvement over the share to train, for rows ``n x D``."""
        least = self._known(problem)
        gain = np.maximum(least[:, None] - self._drawn(problem, rows), 0.0).mean(0)
        points = self.sharing.branch_points
        cost = [share_to_train(problem.decode(row), self.trained, points) for row in rows]
        return np.asarray(gain / np.array(cost))

    def _drawn(self, problem: Problem, rows: Array) -> Array:
        if self._paths is None:
            self._paths = problem.drawn(DRAWS, self.seed)
        return evaluate(self._paths, rows)

    def _known(self, problem: Problem) -> Array:
        if not len(self._least):
            self._least = self._drawn(problem, problem.X).min(1)
        return self._least
