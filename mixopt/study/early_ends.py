"""Trials that end before their last token: when they may, and what their ends would have been.

A trial's end is predicted from the finished trials that passed the same rung
(`mixopt.laws.curve_ends`). That needs aligned curves: one fidelity, one learning-rate rule, and a
rung after which no mixture changes any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mixopt.laws import LEAST_CURVES, CurveEnds, curve_ends
from mixopt.space import Fidelity, Objective, SearchSpace, Trial, geometry_of

Values = Mapping[str, float]
#: Metrics per tokens and trial.
Rungs = Mapping[int, Mapping[str, Values]]

#: Chance of ending better than the best finished trial below which a trial is not worth its rest.
CHANCE = 0.05


@dataclass(frozen=True)
class EarlyEnd:
    """The predicted end of a trial that was stopped.

    Attributes:
        values: Predicted metrics, each in its own unit.
        sd: Standard deviations of what they would have been measured as.
        objective: Predicted objective.
        objective_sd: Its standard deviation.
    """

    values: Values
    sd: Values
    objective: float
    objective_sd: float


@dataclass(frozen=True)
class Curves:
    """Finished trials whose curves are aligned at one rung.

    Attributes:
        objective: What is improved.
        rungs: Metrics at the rung, per trial.
        ends: Metrics at the end, per trial.
    """

    objective: Objective
    rungs: Sequence[Values]
    ends: Sequence[Values]

    @property
    def enough(self) -> bool:
        """Whether ends can be predicted from them."""
        return len(self.ends) >= LEAST_CURVES

    def end_of(self, values: Values) -> EarlyEnd:
        """Where a trial with these values at the rung ends."""
        names = [n for n in values if all(n in seen for seen in (*self.rungs, *self.ends))]
        found = self._predict(values, names)
        whole = self._predict(values, None)
        ends = zip(names, found.mean[0].tolist(), strict=True)
        return EarlyEnd(
            {name: self.objective.kind_of(name).nearest(end) for name, end in ends},
            dict(zip(names, found.sd[0].tolist(), strict=True)),
            float(whole.mean[0, 0]),
            float(whole.sd[0, 0]),
        )

    def chance(self, values: Values, bound: float) -> float:
        """Probability of an end better than a bound of the objective."""
        below = float(self._predict(values, None).below(bound)[0, 0])
        return below if self.objective.sign > 0 else 1.0 - below

    def _predict(self, values: Values, names: Sequence[str] | None) -> CurveEnds:
        """Ends of these metrics, or of the objective."""

        def row(of: Values) -> list[float]:
            return [self.objective.value(of)] if names is None else [of[n] for n in names]

        seen, ends = [row(v) for v in self.rungs], [row(v) for v in self.ends]
        return curve_ends(np.array(seen), np.array(ends), np.array([row(values)]))


def aligned(space: SearchSpace, fidelities: Sequence[Fidelity]) -> bool:
    """Whether trials of a study have curves that can be compared at a rung."""
    return not fidelities and not geometry_of(space).rate_axes


def curves_at(
    objective: Objective,
    trial: Trial,
    tokens: int,
    finished: Iterable[Trial],
    ends: Mapping[str, Values],
    rungs: Mapping[str, Values],
) -> Curves | None:
    """The finished curves that say where a trial ends; None where they say nothing.

    Args:
        objective: What is improved.
        trial: Whose end is wanted.
        tokens: At its rung.
        finished: Trials to learn from.
        ends: Metrics at their ends, per trial.
        rungs: Metrics at the rung, per trial.
    """
    if not _settled(trial, tokens):
        return None
    kept = [
        t.id
        for t in finished
        if t.fidelity == trial.fidelity and t.id in rungs and _settled(t, tokens)
    ]
    complete = [i for i in kept if all(m in rungs[i] for m in objective.metrics)]
    found = Curves(objective, [rungs[i] for i in complete], [ends[i] for i in complete])
    return found if found.enough else None


def _settled(trial: Trial, tokens: int) -> bool:
    """Whether no mixture changes any more after so many tokens."""
    before = 1.0 - trial.schedule.phases[-1].fraction
    return before * trial.fidelity.tokens <= tokens * (1 + 1e-9)


def why_end(curves: Curves, values: Values, best: float | None, noise: float) -> str | None:
    """Why a trial may end at a rung; None where it goes on.

    It may where it will hardly be better than the best finished trial, one standard deviation of
    the noise allowed for the luck of that trial; or where its end is known as well as a run tells
    it, unless it is likely to be the best itself.

    Args:
        curves: Finished ones, aligned at the rung.
        values: Of the trial, at the rung.
        best: Objective of the best finished trial; None without one.
        noise: Standard deviation of one run's objective; 0 where it is not known.
    """
    if best is None:
        return None
    sign, end = curves.objective.sign, curves.end_of(values)
    chance = curves.chance(values, best + sign * noise)
    if chance < CHANCE:
        return (
            f"it would end at {end.objective:.4f} ± {1.96 * end.objective_sd:.4f}, with a chance "
            f"of {chance:.3f} to come near the best ({best:.4f})"
        )
    if end.objective_sd <= noise and sign * (end.objective - best) > 0:
        return (
            f"its end is known to be {end.objective:.4f} ± {1.96 * end.objective_sd:.4f}, as well "
            "as a run would tell it"
        )
    return None
