"""How a schedule becomes a flat row of numbers, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mixopt.errors import SpaceError


@dataclass(frozen=True)
class Layout:
    """The columns of a design matrix ``X``: ``n x D``.

    One phase: the weights alone, ``D = d``. Several phases: the weights of each phase one after the
    other, then the phases' fractions of the training tokens, ``D = P * d + P``.

    Args:
        domains: Number of domains ``d``.
        phases: Number of phases ``P``.

    Raises:
        SpaceError: If either is below one.
    """

    domains: int
    phases: int = 1

    def __post_init__(self) -> None:
        if self.domains < 1 or self.phases < 1:
            raise SpaceError(
                f"a layout needs at least one domain and one phase; got {self.domains} domains and "
                f"{self.phases} phases",
                "count the domains and phases of the search space",
            )

    @property
    def dim(self) -> int:
        """Number of columns ``D``."""
        return self.domains if self.phases == 1 else self.phases * (self.domains + 1)

    def split(self, X: Any) -> tuple[Any, Any]:
        """Take rows apart, for numpy arrays and torch tensors alike.

        Args:
            X: ``batch_shape x D``.

        Returns:
            Weights ``batch_shape x P x d`` and fractions ``batch_shape x P``. Weights of a phase
            whose fraction is 0 mean nothing and must not influence any result.

        Raises:
            SpaceError: If the last dimension is not ``D``.
        """
        if X.shape[-1] != self.dim:
            raise SpaceError(
                f"rows must have {self.dim} columns ({self.phases} phases of {self.domains} "
                f"domains); got {X.shape[-1]}",
                "encode schedules with SearchSpace.encode",
            )
        batch = tuple(X.shape[:-1])
        if self.phases == 1:
            return X.reshape(*batch, 1, self.domains), X[..., :1] * 0.0 + 1.0
        cut = self.phases * self.domains
        return X[..., :cut].reshape(*batch, self.phases, self.domains), X[..., cut:]
