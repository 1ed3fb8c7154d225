"""Projection of many points at once by operator splitting."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Array = NDArray[np.float64]
Matrix = Array | csr_array

# Step and over-relaxation of the fewest iterations on 336 weights under caps.
RHO, RELAXED = 10.0, 1.6
#: Points that are moved together: their coordinates fit a core's cache.
TOGETHER = 128
#: Numbers of a matrix from which it is worth a sparse one, where most of them are 0.
LARGE = 20_000
#: Coordinates of a row that counts as a sum over many.
BROAD = 8
#: Steps between two tests of what has arrived, which cost as much as a step.
TEST = 8
#: How far a point that has arrived may be from its bounds, and may move.
ARRIVED = 1e-8


@dataclass(frozen=True, eq=False)
class Splitting:
    """All ``x`` with ``lower <= C x <= upper``, as operator splitting sees them.

    Args:
        C: ``r x D``; most rows touch few coordinates.
        lower: ``r``.
        upper: ``r``.
    """

    C: Array
    lower: Array
    upper: Array

    @cached_property
    def _rows(self) -> tuple[Matrix, Matrix]:
        return _thin(self.C), _thin(self.C.T)

    @cached_property
    def _solved(self) -> tuple[Matrix, Array, Array]:
        """``(I + RHO C'C)^-1`` as ``local - wide inner wide'``.

        In large spaces sums over many coordinates are few, and but for them no coordinate knows
        many others.
        """
        broad = (np.count_nonzero(self.C, axis=1) > BROAD) & (self.C.size > LARGE)
        rows, sums = self.C[~broad], self.C[broad]
        local = np.linalg.inv(np.eye(self.C.shape[1]) + RHO * rows.T @ rows)
        wide = local @ sums.T
        return _thin(local), wide, np.linalg.inv(np.eye(len(sums)) / RHO + sums @ wide)

    def _solve(self, v: Array) -> Array:
        local, wide, inner = self._solved
        x = local @ v
        return np.asarray(x - wide @ (inner @ (wide.T @ v)) if inner.size else x)

    def nearest(self, y: Array, iterations: int) -> Array:
        """The nearest point to each of ``n x D``, as near as the iterations bring it.

        The method is that of OSQP (Stellato et al. 2020); points that have arrived are left alone.
        """
        parts = [y[at : at + TOGETHER] for at in range(0, len(y), TOGETHER)]
        found = [self._together(part.T, iterations).T for part in parts]
        return np.vstack(found) if found else y

    def _together(self, y: Array, iterations: int) -> Array:
        """Likewise, for points ``D x n`` that are columns."""
        (C, back), lower, upper = self._rows, self.lower[:, None], self.upper[:, None]
        out, left = y.copy(), np.arange(y.shape[1])
        start, z = self._solve(y), np.clip(C @ y, lower, upper)
        dual = np.zeros_like(z)
        for step in range(1, iterations + 1):
            x = start + self._solve(RHO * (back @ (z - dual)))
            at = RELAXED * (C @ x) + (1 - RELAXED) * z
            dual += at
            before = z
            z = np.minimum(np.maximum(dual, lower), upper)
            dual -= z
            if step % TEST and step < iterations:
                continue
            out[:, left] = x
            # It lies within the bounds, and no step moves it along them.
            gap = np.maximum(np.abs(at - z), np.abs(z - before)).max(0, initial=0.0)
            far = gap >= ARRIVED
            if not far.any():
                break
            if 2 * far.sum() < len(left):
                left, start, z, dual = left[far], start[:, far], z[:, far], dual[:, far]
        return out


def _thin(matrix: Array) -> Matrix:
    """The matrix as it is multiplied faster."""
    sparse = matrix.size > LARGE and np.count_nonzero(matrix) < matrix.size / 10
    return csr_array(matrix) if sparse else matrix
