"""The fall of the learning rate and the worth of repeated tokens, for a space's layout."""

from __future__ import annotations

import numpy as np

from mixopt.space.geometry.layout import RateClock, Repetition
from mixopt.space.learning_rate import LearningRate
from mixopt.space.learning_rate_space import usual_rule
from mixopt.space.search_space import SearchSpace

#: Steps in which a rate is summed.
TICKS = 256


def repetition_in(space: SearchSpace) -> Repetition | None:
    """How much repeated tokens are worth at the target; None where a token is a token."""
    worth = [d.r_star if d.r_star is not None else space.r_star for d in space.domains]
    if space.target is None or all(r is None for r in worth):
        return None
    return Repetition(
        tuple(
            float("inf") if d.tokens is None or r is None else float(d.tokens)
            for d, r in zip(space.domains, worth, strict=True)
        ),
        tuple(1.0 if r is None else r for r in worth),
        float(space.target.tokens),
    )


def rate_clock(space: SearchSpace) -> RateClock | None:
    """The clock of a space's rules with their usual numbers.

    None for a single phase, and where every rate is the same throughout. A rule that names no peak
    is taken to have the run's.
    """
    if len(space.phases) == 1:
        return None
    run = space.usual_rule or LearningRate()
    table = np.concatenate([[0.0], np.cumsum(_factors(run)) / TICKS])
    own = tuple(_mean_rate(usual_rule(p.learning_rate), run) for p in space.phases)
    constant = np.allclose(np.diff(table) * TICKS, 1.0)
    if constant and all(value is None or abs(value - 1) < 1e-9 for value in own):
        return None
    return RateClock(tuple(float(v) for v in table), own)


def _mean_rate(own: LearningRate | None, run: LearningRate) -> float | None:
    """The mean rate of a phase's own rule over the run's peak; None where there is no such rule."""
    if own is None:
        return None
    peak = own.peak / run.peak if own.peak and run.peak else 1.0
    return float(np.mean(_factors(own))) * peak


def _factors(rule: LearningRate) -> list[float]:
    return [rule.factor((tick + 0.5) / TICKS) for tick in range(TICKS)]
