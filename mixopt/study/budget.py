"""How much a study may spend: totals, so that the same command again never adds to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

from pydantic import Field, model_validator

from mixopt.errors import SpaceError, StudyError
from mixopt.space import Fidelity, Frozen, Trial

#: FLOPs of a run of a fidelity.
Flops = Callable[[Fidelity], float]


def usual_flops(fidelity: Fidelity) -> float:
    """6 per parameter and token."""
    return fidelity.flops


class Spent(Frozen):
    """What a study's search has spent so far, trials in flight and failed ones included.

    Attributes:
        trials: Trials proposed (attached and confirmation runs are not counted).
        tokens: Their training tokens.
        flops: Their training FLOPs.
        rounds: Rounds proposed.
    """

    trials: int = 0
    tokens: int = 0
    flops: float = 0.0
    rounds: int = 0

    @classmethod
    def of(cls, trials: Sequence[Trial], flops: Flops = usual_flops) -> Spent:
        """What these trials cost."""
        return cls(
            trials=len(trials),
            tokens=sum(t.fidelity.tokens for t in trials),
            flops=sum(flops(t.fidelity) for t in trials),
            rounds=len({t.round for t in trials}),
        )

    def plus(self, fidelity: Fidelity, flops: Flops = usual_flops) -> Spent:
        """The same with one more trial of a round that is counted already."""
        cost = trial_cost(fidelity, flops)
        return self.model_copy(update={n: getattr(self, n) + cost[n] for n in cost})


class TrialBudget(Frozen):
    """The totals at which a search stops, whichever is reached first.

    Attributes:
        trials: Greatest number of trials.
        tokens: Greatest number of training tokens over all trials.
        flops: Greatest number of training FLOPs over all trials.
        rounds: Greatest number of rounds, the initial design included.
    """

    trials: Annotated[int, Field(gt=0)] | None = None
    tokens: Annotated[int, Field(gt=0)] | None = None
    flops: Annotated[float, Field(gt=0)] | None = None
    rounds: Annotated[int, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _limited(self) -> TrialBudget:
        if not self._totals:
            raise SpaceError(
                "a budget needs at least one of trials, tokens, flops and rounds; none is given",
                "write {trials: 24}, or leave the budget of a Study out to stop by regret alone",
            )
        return self

    @property
    def _totals(self) -> dict[str, float]:
        return self.model_dump(exclude_none=True)

    def left(self, spent: Spent) -> dict[str, float]:
        """What remains of every total that is given; never below 0."""
        return {n: max(total - getattr(spent, n), 0) for n, total in self._totals.items()}

    def most_trials(self, fidelity: Fidelity, flops: Flops = usual_flops) -> int:
        """Greatest number of trials of one fidelity that the totals pay for.

        Raises:
            StudyError: If only rounds are limited, which says nothing of trials.
        """
        most = _payable(self._totals, trial_cost(fidelity, flops))
        if not most:
            raise StudyError(
                "a budget of rounds alone does not say how many trials it pays for",
                "give a total of trials, tokens or flops too",
            )
        return min(most)

    def affordable(
        self, spent: Spent, wanted: int, fidelity: Fidelity, flops: Flops = usual_flops
    ) -> int:
        """How many of the trials wanted for one more round the budget still pays for."""
        left = self.left(spent)
        if left.get("rounds", 1) < 1:
            return 0
        return min([wanted, *_payable(left, trial_cost(fidelity, flops))])

    def exhausted(
        self, spent: Spent, fidelity: Fidelity | None = None, flops: Flops = usual_flops
    ) -> str | None:
        """Why no further trial can be paid for; None while one can.

        Args:
            spent: What is gone.
            fidelity: Of the next trial; without it a total counts as exhausted at 0 left.
            flops: Of a run.
        """
        left = self.left(spent)
        cost = trial_cost(fidelity, flops) if fidelity else {}
        for name, rest in left.items():
            if rest <= 0 or rest * (1 + 1e-9) < cost.get(name, 0):
                return f"the budget of {self._totals[name]:,.6g} {name} is spent"
        return None


def trial_cost(fidelity: Fidelity, flops: Flops) -> dict[str, float]:
    """What one trial takes of each total but that of rounds."""
    return {"trials": 1.0, "tokens": float(fidelity.tokens), "flops": flops(fidelity)}


def _payable(left: Mapping[str, float], cost: Mapping[str, float]) -> list[int]:
    # A total that is a whole number of trials must pay for all of them despite rounding.
    return [int(left[name] / each * (1 + 1e-9)) for name, each in cost.items() if name in left]
