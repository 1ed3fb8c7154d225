"""The columns of a design matrix: a schedule as a flat row of numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mixopt.errors import SpaceError


@dataclass(frozen=True)
class Repetition:
    """The numbers that tell how much repeated tokens are worth.

    Args:
        available: The tokens per domain, ``d``; infinity where it cannot run out.
        r_star: The epochs per domain, ``d``, after which a repeated token has lost most of its
            worth.
        target: The tokens of the run that predictions are wanted for.
        trials: The tokens of the runs that are learned from; 0 where they repeat nothing.
    """

    available: tuple[float, ...]
    r_star: tuple[float, ...]
    target: float
    trials: float = 0.0


@dataclass(frozen=True)
class RateClock:
    """How far learning has come after a share of the tokens, where the rate is not constant.

    Args:
        table: The rate over its peak, summed from the start of the run, at equal steps from 0 to 1
            of the tokens.
        own: Per phase, the mean rate of a rule of its own over the run's peak; None where it
            follows the run's.
    """

    table: tuple[float, ...]
    own: tuple[float | None, ...]


@dataclass(frozen=True)
class Layout:
    """The columns of a design matrix ``X``: ``n x D``.

    One phase: the weights alone, ``D = d``. Several phases: the weights of each phase one after the
    other, then the phases' fractions of the training tokens, ``D = P * d + P``. Where learning
    rates are searched, ``r`` coordinates from 0 to 1 follow.

    Args:
        domains: The number of domains ``d``.
        phases: The number of phases ``P``.
        rates: For each searched number of a learning-rate rule the index of its phase, -1 for the
            whole run.
        repetition: The worth of repeated tokens; None where a token is a token.
        clock: The fall of the learning rate; None where it is constant, or not known.

    Raises:
        SpaceError: If there is no domain or no phase.
    """

    domains: int
    phases: int = 1
    rates: tuple[int, ...] = ()
    repetition: Repetition | None = None
    clock: RateClock | None = None

    def trained_on(self, tokens: float) -> Layout:
        """The layout of rows that were trained on so many tokens."""
        if self.repetition is None:
            return self
        return replace(self, repetition=replace(self.repetition, trials=float(tokens)))

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
        data = self.domains if self.phases == 1 else self.phases * (self.domains + 1)
        return data + len(self.rates)

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
                "encode schedules with geometry_of(space).encode",
            )
        batch = tuple(X.shape[:-1])
        if self.phases == 1:
            weights = X[..., : self.domains]
            return weights.reshape(*batch, 1, self.domains), X[..., :1] * 0.0 + 1.0
        cut = self.phases * self.domains
        weights = X[..., :cut].reshape(*batch, self.phases, self.domains)
        return weights, X[..., cut : cut + self.phases]

    def rate_part(self, X: Any) -> Any:
        """Coordinates of the searched learning rates, for numpy arrays and torch tensors alike.

        Args:
            X: ``batch_shape x D``.

        Returns:
            ``batch_shape x r``; a half for a phase whose fraction is 0, so that what its rate would
            be cannot influence any result.
        """
        rates = X[..., self.dim - len(self.rates) :]
        if self.phases == 1 or max(self.rates, default=-1) < 0:
            return rates
        there = self.rates_there(self.split(X)[1])
        return rates * there + 0.5 * ~there

    def rates_there(self, F: Any) -> Any:
        """Which searched rates are those of the run or of a phase that exists: ``... x r``."""
        there = F[..., [max(owner, 0) for owner in self.rates]] > 1e-9
        for column, owner in enumerate(self.rates):
            if owner < 0:
                there[..., column] = True
        return there
