"""The mean of a few paired differences, with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from mixopt.errors import StudyError
from mixopt.space.model import Frozen


class Effect(Frozen):
    """A mean over seeds with its interval by Student's t, one degree of freedom less than seeds.

    Attributes:
        mean: Of the values (nats/token).
        se: Standard error of the mean.
        low: Lower end of the interval, 95 % unless said.
        high: Upper end of the interval.
        seeds: Number of values.
    """

    mean: float
    se: float
    low: float
    high: float
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float], level: float = 0.95) -> Effect:
        """Summarise values, one per seed.

        Args:
            values: Differences between two runs of one seed, or the values of one schedule.
            level: Probability of the interval.

        Raises:
            StudyError: If there are fewer than two, which say nothing of their spread.
        """
        from scipy.stats import t as student

        n = len(values)
        if n < 2:
            raise StudyError(
                f"an interval needs at least two seeds that finished on both sides; got {n}",
                "raise the number of seeds, or see why runs failed in the study's trials",
            )
        mean, se = float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(n))
        wide = float(student.ppf((1 + level) / 2, n - 1)) * se
        return cls(mean=mean, se=se, low=mean - wide, high=mean + wide, seeds=n)

    @classmethod
    def paired(
        cls, one: Mapping[int, float], other: Mapping[int, float], level: float = 0.95
    ) -> Effect:
        """``one - other`` over the seeds that finished on both sides.

        Args:
            one: Value per seed.
            other: Value per seed.
            level: Probability of the interval.

        Raises:
            StudyError: If fewer than two seeds did.
        """
        return cls.of([one[s] - other[s] for s in sorted(one.keys() & other.keys())], level)

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0
