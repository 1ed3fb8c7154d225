"""What trials have shown, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import StudyError
from mixopt.space import Objective

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """Trials that finished, and those of which the end is predicted, in trial order.

    Args:
        X: ``n x D`` schedules as rows of the search space.
        Y: ``n x m`` metrics at the end, each in its own unit.
        metrics: Names of the m metrics.
        ids: Names of the n trials.
        variance: ``n x m`` variances of ends that are predicted, 0 for those that were measured;
            None where all were.

    Raises:
        StudyError: If the shapes and names disagree or a number is not finite.
    """

    X: Array
    Y: Array
    metrics: tuple[str, ...]
    ids: tuple[str, ...]
    variance: Array | None = None

    @property
    def measured(self) -> NDArray[np.bool_]:
        """``n`` flags: whether a trial's end was measured, not predicted."""
        if self.variance is None:
            return np.ones(len(self), dtype=bool)
        return np.asarray((self.variance == 0).all(1))

    def only(self, metrics: Sequence[str]) -> Evidence:
        """The evidence on some of the metrics."""
        which = [self.metrics.index(name) for name in metrics]
        variance = None if self.variance is None else self.variance[:, which]
        return Evidence(self.X, self.Y[:, which], tuple(metrics), self.ids, variance)

    def __post_init__(self) -> None:
        want = (len(self.ids), len(self.metrics))
        if self.X.ndim != 2 or len(self.X) != want[0] or self.Y.shape != want:
            raise StudyError(
                f"evidence on {want[0]} trials and {want[1]} metrics needs X of {want[0]} rows and "
                f"Y of {want[0]} x {want[1]}; got {self.X.shape} and {self.Y.shape}",
                "give one row per finished trial",
            )
        if self.variance is not None and self.variance.shape != want:
            raise StudyError(
                f"variances of ends must be {want[0]} x {want[1]}; got {self.variance.shape}",
                "give 0 for what was measured",
            )
        bad = ~np.isfinite(self.Y)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise StudyError(
                f"every metric of a finished trial must be finite; {self.metrics[column]!r} of "
                f"trial {self.ids[row]!r} is {self.Y[row, column]}",
                "mark the trial as failed instead",
            )

    def __len__(self) -> int:
        return len(self.ids)

    def coefficients(self, objective: Objective) -> Array:
        """Factors ``m`` of the metrics in what is minimised: the objective, or minus it.

        Raises:
            StudyError: If a metric that the objective or a guardrail needs was not measured.
        """
        missing = [name for name in objective.metrics if name not in self.metrics]
        if missing:
            raise StudyError(
                f"the objective needs the metrics {missing}, which no trial measured",
                f"measured were {list(self.metrics)}",
            )
        return objective.sign * objective.coefficients(list(self.metrics))

    def values(self, objective: Objective) -> Array:
        """What is minimised of every trial, ``n``."""
        return np.asarray(self.Y @ self.coefficients(objective))
