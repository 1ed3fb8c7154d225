"""At which size and length each proposed schedule is worth running."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import StudyError
from mixopt.space import Fidelity, Objective, Schedule, SearchSpace, geometry_of
from mixopt.surrogate.protocol import SurrogateModel

Array = NDArray[np.float64]
Cost = Callable[[Schedule, Fidelity], float]

#: Share of a round that goes to the highest fidelity that can be paid for.
DEAR_SHARE = 0.25


class FidelitySurrogate(SurrogateModel, Protocol):
    """A surrogate that knows how fidelities hang together; ``ScaleSurrogate`` is one."""

    def information(
        self, X: Array, fidelities: Sequence[Fidelity], against: Array, weights: Array
    ) -> Array:
        """``q x F`` fall of the variance of the objective's difference at the target."""


def flops(_schedule: Schedule, fidelity: Fidelity) -> float:
    """Cost of a run: 6 FLOPs per parameter and token."""
    return fidelity.flops


def ascending(fidelities: Sequence[Fidelity]) -> tuple[Fidelity, ...]:
    """Different fidelities, the cheapest first.

    Raises:
        StudyError: If there is none.
    """
    if not fidelities:
        raise StudyError("choosing needs at least one fidelity; got none", "name some")
    return tuple(sorted(set(fidelities), key=lambda f: (f.flops, f.parameters)))


def dear_count(trials: int, share: float) -> int:
    """How many trials of a round are bought at the highest affordable fidelity: at least one.

    Raises:
        StudyError: If the share is not between 0 and 1.
    """
    if not 0.0 <= share <= 1.0:
        raise StudyError(
            f"the share bought at the highest fidelity must lie between 0 and 1; got {share:g}",
            "0.25 is the default",
        )
    return min(max(int(np.ceil(share * trials - 1e-9)), 1), trials)


def choose_fidelities(
    space: SearchSpace,
    objective: Objective,
    surrogate: FidelitySurrogate,
    schedules: Sequence[Schedule],
    fidelities: Sequence[Fidelity],
    *,
    share: float = DEAR_SHARE,
    cost: Cost = flops,
    left: float = float("inf"),
) -> list[Fidelity]:
    """The fidelity of each proposed schedule.

    Each gets the one at which a run tells most of the target per cost: the expected fall of the
    variance of the objective's difference from the baseline there. A run at a low fidelity can
    never tell more than the two fidelities agree on, so where ranks disagree the dear one wins.
    A share of the schedules, at least one and those expected to be best, goes to the highest
    fidelity that can be paid for whatever the ratio says: only runs there show what the ratio
    rests on.

    Args:
        space: What can be chosen.
        objective: To minimise.
        surrogate: Of the target.
        schedules: To be run.
        fidelities: To choose from.
        share: Bought at the highest affordable fidelity.
        cost: Of a run; FLOPs by default.
        left: What may be spent on all of them, in the unit of the cost.

    Returns:
        One fidelity per schedule; where what is left does not pay for all, as many as it pays for,
        from the first schedule on.

    Raises:
        StudyError: If there is no fidelity or the share is no share.
    """
    sizes, wanted = ascending(fidelities), dear_count(len(schedules), share)
    if not schedules:
        return []
    geometry = geometry_of(space)
    X = np.stack([geometry.encode(s) for s in schedules])
    w = objective.coefficients(list(surrogate.metrics))
    prices = np.array([[cost(s, f) for f in sizes] for s in schedules])
    told = surrogate.information(X, sizes, geometry.encode(space.baseline_schedule), w)
    choice = np.argmax(told / prices, axis=1)
    best = np.argsort(surrogate.predict(X).mean @ w, kind="stable")[:wanted]
    choice[best] = len(sizes) - 1
    return [sizes[k] for k in _paid(choice, prices, set(best.tolist()), left)]


def _paid(choice: NDArray[np.int64], prices: Array, dear: set[int], left: float) -> list[int]:
    """Choices cut down to what is left: dear ones step down first only where nothing else pays."""
    rest = left * (1 + 1e-9)
    n = len(choice)
    cheapest = prices.min(1)
    out: list[int] = []
    for i in range(n):
        # What the schedules after this one need at least stays reserved, so that a dear run does
        # not eat up a round; where even that is not there, the round ends early.
        reserve = float(cheapest[i + 1 :].sum()) if i not in dear else 0.0
        payable = [k for k in range(int(choice[i]) + 1) if prices[i, k] <= rest]
        if not payable:
            break
        within = [k for k in payable if prices[i, k] <= rest - reserve]
        picked = max(within or payable[:1])
        out.append(picked)
        rest -= float(prices[i, picked])
    return out
