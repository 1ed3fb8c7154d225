"""How much a study may spend: totals, so that the same command again never adds to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

from pydantic import Field, model_validator

from mixopt.errors import SpaceError, StudyError
from mixopt.space import Fidelity, Frozen, Trial

#: What one run of a fidelity takes of each total but that of rounds, as far as it is known.
Cost = Callable[[Fidelity], Mapping[str, float]]


def usual_cost(fidelity: Fidelity) -> dict[str, float]:
    """One trial, its tokens, and 6 FLOPs per parameter and token."""
    return {"trials": 1, "tokens": fidelity.tokens, "flops": fidelity.flops}


class Spent(Frozen):
    """What a study's search has spent so far, trials in flight and failed ones included.

    Attributes:
        trials: Trials proposed (attached and confirmation runs are not counted).
        tokens: Their training tokens.
        flops: Their training FLOPs.
        rounds: Rounds proposed.
        device_hours: What they took of the devices, or are predicted to take.
    """

    trials: int = 0
    tokens: int = 0
    flops: float = 0.0
    rounds: int = 0
    device_hours: float = 0.0

    @classmethod
    def of(
        cls, trials: Sequence[Trial], cost: Cost = usual_cost, device_hours: float = 0.0
    ) -> Spent:
        """What these trials cost."""
        return cls(
            trials=len(trials),
            tokens=sum(t.fidelity.tokens for t in trials),
            flops=sum(cost(t.fidelity)["flops"] for t in trials),
            rounds=len({t.round for t in trials}),
            device_hours=device_hours,
        )

    def plus(self, cost: Mapping[str, float]) -> Spent:
        """The same with one more trial of a round that is counted already."""
        return self.model_copy(update={n: getattr(self, n) + cost[n] for n in cost})


class TrialBudget(Frozen):
    """The totals at which a search stops, whichever is reached first.

    Attributes:
        trials: Greatest number of trials.
        tokens: Greatest number of training tokens over all trials.
        flops: Greatest number of training FLOPs over all trials.
        rounds: Greatest number of rounds, the initial design included.
        device_hours: Greatest number of device-hours. Those of a trial are predicted from the
            trials that are over; before the first of them is, this total ends nothing.
        money: Greatest price of all trials, in the currency of ``price_per_device_hour``.
        price_per_device_hour: What one hour of one device costs.
    """

    trials: Annotated[int, Field(gt=0)] | None = None
    tokens: Annotated[int, Field(gt=0)] | None = None
    flops: Annotated[float, Field(gt=0)] | None = None
    rounds: Annotated[int, Field(gt=0)] | None = None
    device_hours: Annotated[float, Field(gt=0)] | None = None
    money: Annotated[float, Field(gt=0)] | None = None
    price_per_device_hour: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _limited(self) -> TrialBudget:
        if self.money is not None and self.price_per_device_hour is None:
            raise SpaceError(
                f"a budget of money needs the price of a device-hour; got money {self.money:g} "
                "alone",
                "add price_per_device_hour, in the same currency",
            )
        if not self._totals:
            raise SpaceError(
                "a budget needs at least one of trials, tokens, flops, rounds, device_hours and "
                "money; none is given",
                "write {trials: 24}, or leave the budget of a Study out to stop by regret alone",
            )
        return self

    @property
    def _totals(self) -> dict[str, float]:
        totals = self.model_dump(exclude_none=True, exclude={"money", "price_per_device_hour"})
        if self.money is not None and self.price_per_device_hour is not None:
            paid = self.money / self.price_per_device_hour
            totals["device_hours"] = min(totals.get("device_hours", paid), paid)
        return totals

    def left(self, spent: Spent) -> dict[str, float]:
        """What remains of every total that is given; never below 0."""
        return {n: max(total - getattr(spent, n), 0) for n, total in self._totals.items()}

    def most_trials(self, cost: Mapping[str, float]) -> int:
        """Greatest number of trials of one cost that the totals pay for.

        Raises:
            StudyError: If only totals are given of which the cost of a trial is not known.
        """
        most = _payable(self._totals, cost)
        if not most:
            raise StudyError(
                f"a budget of {' and '.join(self._totals)} alone does not say how many trials it "
                "pays for",
                "give a total of trials, tokens or flops too",
            )
        return min(most)

    def affordable(self, spent: Spent, wanted: int, cost: Mapping[str, float]) -> int:
        """How many of the trials wanted for one more round the budget still pays for."""
        left = self.left(spent)
        if left.get("rounds", 1) < 1:
            return 0
        return min([wanted, *_payable(left, cost)])

    def exhausted(self, spent: Spent, cost: Mapping[str, float] | None = None) -> str | None:
        """Why no further trial can be paid for; None while one can.

        Args:
            spent: What is gone.
            cost: Of the next trial; without it a total counts as exhausted at 0 left.
        """
        for name, rest in self.left(spent).items():
            if rest <= 0 or rest * (1 + 1e-9) < (cost or {}).get(name, 0):
                return f"the budget of {self._named(name)} is spent"
        return None

    def _named(self, total: str) -> str:
        if total != "device_hours":
            return f"{self._totals[total]:,.6g} {total}"
        if self._totals[total] == self.device_hours:
            return f"{self.device_hours:,.6g} device-hours"
        return f"{self.money:,.6g} at {self.price_per_device_hour:,.6g} per device-hour"


def _payable(left: Mapping[str, float], cost: Mapping[str, float]) -> list[int]:
    # A total that is a whole number of trials must pay for all of them despite rounding.
    return [int(left[n] / each * (1 + 1e-9)) for n, each in cost.items() if n in left and each > 0]
