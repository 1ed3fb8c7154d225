"""Where losses were measured: mixture, size, length, and where in its learning-rate rule a run was.

A checkpoint in the middle of a decaying run is no finished run of that length. What counts is the
area under the learning rate so far, and how far the rate has fallen (Tissue et al., arXiv
2408.11029, and Luo et al., arXiv 2503.12811).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from mixopt.errors import SurrogateError
from mixopt.laws._arrays import Array
from mixopt.laws._lbfgs import Ints
from mixopt.space import LearningRate

#: Share of a run's length before which its curve is left out: early losses fall faster than any
#: law that holds later, and would bend it (``docs/negative-results.md``).
_SETTLED = 0.3
#: The same in warm-ups.
_WARMUPS = 3.0
_GRID = 4001


@dataclass(frozen=True)
class RunRule:
    """The learning-rate rule of runs that were read in the middle.

    Args:
        rate: The rule over the whole run.
        horizon: Tokens of the whole run, over which the rule is stretched; reading may end sooner.
    """

    rate: LearningRate
    horizon: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.horizon) and self.horizon > 0):
            raise SurrogateError(
                f"the horizon of a learning-rate rule must be positive; got {self.horizon:g}",
                "give the tokens over which the rule is stretched",
            )

    def area(self, tokens: Array) -> Array:
        """Tokens, each counted by its learning rate over the peak (the area S1)."""
        at = np.linspace(0.0, 1.0, _GRID)
        factor = np.array([self.rate.factor(p) for p in at])
        summed = np.concatenate([[0.0], np.cumsum((factor[1:] + factor[:-1]) / 2)]) / (_GRID - 1)
        beyond = np.maximum(tokens / self.horizon - 1.0, 0.0) * factor[-1]
        return np.asarray(
            self.horizon * (np.interp(tokens / self.horizon, at, summed) + beyond), dtype=float
        )

    def fall(self, tokens: Array) -> Array:
        """How far the rate has fallen, as a share of its peak; 0 during the warm-up."""
        through = np.asarray(tokens / self.horizon, dtype=float)
        return np.array(
            [0.0 if p < self.rate.warmup else 1.0 - self.rate.factor(p) for p in through]
        )

    def settled(self) -> float:
        """Tokens before which a curve says nothing of its later course."""
        return _WARMUPS * self.rate.warmup * self.horizon


@dataclass(frozen=True)
class FidelityRows:
    """Where losses are measured or wanted.

    Args:
        U: ``n x f`` features of the mixtures, at least 0.
        N: ``n`` parameters.
        D: ``n`` training tokens.
        run: ``n`` numbers of training runs; checkpoints of one run share it, -1 for a run of its
            own.
        area: ``n`` tokens counted by their learning rate; by default the tokens, which is right
            between whole runs of different length.
        fall: ``n`` shares of the peak by which the rate has fallen; by default the same for all.
    """

    U: Array
    N: Array
    D: Array
    run: Ints
    area: Array = field(default_factory=lambda: np.empty(0))
    fall: Array = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        if not len(self.area):
            object.__setattr__(self, "area", np.asarray(self.D, dtype=float))
        if not len(self.fall):
            object.__setattr__(self, "fall", np.zeros(len(self.N)))

    def __len__(self) -> int:
        return len(self.N)

    def under(self, rule: RunRule) -> FidelityRows:
        """The same rows, read in the middle of runs under a learning-rate rule."""
        return replace(self, area=rule.area(self.D), fall=rule.fall(self.D))

    def at(self, target: FidelityRows) -> FidelityRows:
        """The same mixtures and runs at the one place of ``target``."""
        n = len(self)
        return FidelityRows(
            self.U,
            np.full(n, target.N[0]),
            np.full(n, target.D[0]),
            self.run,
            np.full(n, target.area[0]),
            np.full(n, target.fall[0]),
        )

    def take(self, rows: Ints) -> FidelityRows:
        """Some of the rows."""
        return FidelityRows(
            self.U[rows],
            self.N[rows],
            self.D[rows],
            self.run[rows],
            self.area[rows],
            self.fall[rows],
        )

    @property
    def last(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """``n`` flags: whether a row is the last of its run."""
        ends: dict[int, float] = {}
        for run, tokens in zip(self.run.tolist(), self.D.tolist(), strict=True):
            ends[run] = max(ends.get(run, 0.0), tokens)
        return np.array(
            [r < 0 or d >= ends[r] for r, d in zip(self.run.tolist(), self.D, strict=True)],
            dtype=bool,
        )

    def settled(self, rule: RunRule | None = None) -> Ints:
        """Rows late enough in their run to say how it goes on; the last of a run is one of them."""
        length: dict[int, float] = {}
        for run, tokens in zip(self.run.tolist(), self.D.tolist(), strict=True):
            length[run] = max(length.get(run, 0.0), tokens)
        least = 0.0 if rule is None else rule.settled()
        first = np.array([max(least, _SETTLED * length[r]) for r in self.run.tolist()])
        return np.flatnonzero(self.last | (first <= self.D))


def fidelity_groups(rows: FidelityRows) -> Ints:
    """Number of the fidelity of each row, ascending in FLOPs."""
    keys = np.stack([rows.N * rows.D, rows.N, rows.D], axis=1)
    return np.asarray(np.unique(keys, axis=0, return_inverse=True)[1]).ravel().astype(np.int64)
