"""Integer quotas that sum to their total."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def largest_remainder(shares: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Round ``shares * total`` so that the counts sum to ``total`` exactly.

    Every count is within 1 of its exact value (Hamilton's method); ties go to the earlier entry.

    Args:
        shares: ``k`` non-negative numbers with a positive sum; they are normalised.
        total: The number of units to hand out.

    Returns:
        The counts ``k``.
    """
    exact = shares / shares.sum() * total
    # Without the nudge 0.7 * 10 falls to 6.999... and loses a unit to a smaller remainder.
    counts = np.floor(exact + 1e-9).astype(np.int64)
    short = int(total - counts.sum())
    if short:
        order = np.argsort(-(exact - counts), kind="stable")
        counts[order[:short]] += 1
    return np.asarray(counts)
