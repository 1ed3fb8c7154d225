"""How different two schedules are, and picking schedules far from one another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixopt.space import Layout

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Schedules that feed this share of their tokens differently, or less, are near-duplicates.
NEAR = 0.01

#: What the whole range of a searched learning rate is worth, in tokens fed differently.
RATE_SHARE = 0.25


def schedule_distance(layout: Layout, X: Array, Z: Array) -> Array:
    """Share of training tokens on which two schedules differ.

    The total variation between the two mixtures in force, averaged over the run, so that a static
    schedule and one that switches late can be compared, and phases that do not exist count nothing.

    Where learning rates are searched, going from end to end of one counts as much as feeding a
    quarter of the tokens differently; the largest change counts.

    Args:
        layout: Meaning of the columns.
        X: ``n x D``.
        Z: ``k x D``.

    Returns:
        ``n x k`` distances from 0 to 1 (1.25 with rates).
    """
    W, F = layout.split(X)
    V, G = layout.split(Z)
    out = np.zeros((len(X), len(Z)))
    ends, others = F.cumsum(1), G.cumsum(1)
    for p in range(layout.phases):
        for q in range(layout.phases):
            until = np.minimum(ends[:, None, p], others[None, :, q])
            since = np.maximum((ends - F)[:, None, p], (others - G)[None, :, q])
            overlap = np.maximum(until - since, 0.0)
            if overlap.any():
                apart = np.abs(W[:, None, p] - V[None, :, q]).sum(-1) / 2
                out += overlap * apart
    if layout.rates:
        moved = np.abs(layout.rate_part(X)[:, None] - layout.rate_part(Z)[None])
        out += RATE_SHARE * moved.max(-1)
    return out


def design_features(layout: Layout, X: Array) -> Array:
    """Square roots of the exposure and, for several phases, of the ending: ``n x d`` or ``n x 2d``.

    In the square root the step from none of a domain to a little is as large as it is for losses.
    Searched learning rates follow, their whole range as long as a domain's: ``n x (.. + r)``.
    """
    W, F = layout.split(X)
    data = np.einsum("npd,np->nd", W, F)
    if layout.phases > 1:
        last = layout.phases - 1 - np.argmax(F[:, ::-1] > 1e-9, axis=1)
        data = np.hstack([data, W[np.arange(len(X)), last]])
    data = np.sqrt(np.maximum(data, 0.0))
    return np.hstack([data, layout.rate_part(X)]) if layout.rates else np.asarray(data)


def farthest(features: Array, chosen: Array, n: int, *, first: int = 0) -> Ints:
    """Greedy max-min: each point the farthest from all chosen so far.

    Args:
        features: ``N x f`` candidates.
        chosen: ``k x f`` points already chosen; where there is none, ``first`` starts.
        n: How many to pick.
        first: Candidate to start from.

    Returns:
        Indices of the candidates picked; fewer than ``n`` when all that is left coincides.
    """
    gap = np.full(len(features), np.inf)
    for point in chosen:
        gap = np.minimum(gap, ((features - point) ** 2).sum(1))
    picked: list[int] = []
    while len(picked) < min(n, len(features)):
        best = int(np.argmax(gap)) if picked or len(chosen) else first
        if gap[best] < 1e-12:
            break
        picked.append(best)
        gap = np.minimum(gap, ((features - features[best]) ** 2).sum(1))
        gap[best] = -1.0
    return np.array(picked, dtype=np.int64)


class Known:
    """Schedules that are not to be proposed again.

    Args:
        layout: Meaning of the columns.
        X: ``k x D`` rows to begin with.
    """

    def __init__(self, layout: Layout, X: Array) -> None:
        self.layout, self.X = layout, X

    def gap(self, rows: Array) -> Array:
        """Distance of rows ``n x D`` to the nearest known one, ``n``."""
        if len(self.X) == 0:
            return np.full(len(rows), np.inf)
        return np.asarray(schedule_distance(self.layout, rows, self.X).min(1))

    def fresh(self, row: Array) -> bool:
        """Whether a row ``D`` is no near-duplicate of a known one."""
        return bool(self.gap(row[None])[0] >= NEAR)

    def add(self, row: Array) -> None:
        """Count a row ``D`` as known from here on."""
        self.X = np.vstack([self.X, row[None]])
