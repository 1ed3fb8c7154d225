"""What proposals and reports ask of a surrogate; they know nothing else of one.

Notation: d domains, m metrics, n rows, D columns of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mixopt.laws._arrays import Array
from mixopt.space import Frozen, Layout

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """Predicted losses in nats/token, each ``n x m``.

    Args:
        mean: Of the loss.
        sd: Of the latent, noise-free loss.
        observation_sd: Of one new observation, run-to-run noise included.
    """

    mean: Array
    sd: Array
    observation_sd: Array


class SurrogateRow(Frozen):
    """How one metric is predicted, and how well.

    Attributes:
        metric: Name of the metric.
        weights: Weight of each member of the stack, by name.
        spearman: Cross-validated rank correlation; None where ranks cannot be told.
        rmse: Cross-validated root mean squared error (nats/token).
        errors: The same error of each member of the stack alone, by name; none where the metric is
            not modelled in its own unit.
        coverage: Share of the trials that lie in their cross-validated 95 % intervals.
        level_sd: Standard deviation of what moves all predictions alike (nats/token).
        fallback: Reason for predicting otherwise than by the usual stack, '' where there is none.
        notes: What members of the stack say of their own assumptions.
    """

    metric: str
    weights: dict[str, float] = {}
    spearman: float | None = None
    rmse: float | None = None
    errors: dict[str, float] = {}
    coverage: float | None = None
    level_sd: float = 0.0
    fallback: str = ""
    notes: tuple[str, ...] = ()

    @property
    def leading(self) -> str:
        """Name of the member of greatest weight, '' where none is known."""
        return max(self.weights, key=self.weights.__getitem__, default="")


class SurrogateModel(Protocol):
    """A fitted surrogate of all metrics, of one fidelity or several."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the m metrics."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the d domains."""

    @property
    def layout(self) -> Layout:
        """Meaning of the columns of a row."""

    @property
    def noise_sd(self) -> Array:
        """``m`` standard deviations of one observation's noise (nats/token)."""

    @property
    def correlation(self) -> Array:
        """``m x m`` correlation of the metrics' errors, the level left out."""

    @property
    def level(self) -> Array:
        """``m x m`` covariance of what moves all predictions alike; 0 where there is none.

        It is part of every standard deviation and says nothing of which schedule is better.
        """

    @property
    def out_of_fold(self) -> Prediction | None:
        """Predictions of the training rows by fits without them, the level left out.

        None where the surrogate was not cross-validated.
        """

    @property
    def repairs(self) -> tuple[str, ...]:
        """What had to be jittered or replaced for the fit to exist, in sentences."""

    def predict(self, X: Array) -> Prediction:
        """Predict rows ``n x D``."""

    def posterior(self, X: Tensor) -> Any:
        """BoTorch posterior at ``batch_shape x q x D``, differentiable in X."""

    def sample_paths(self, num: int, seed: int) -> Callable[[Tensor], Tensor]:
        """Posterior draws as functions ``batch x D -> num x batch x m``."""

    def only(self, metrics: Sequence[str]) -> SurrogateModel:
        """The surrogate of some of its metrics, in the order given."""

    def report(self) -> tuple[SurrogateRow, ...]:
        """One row per metric; none where the surrogate was not cross-validated."""
