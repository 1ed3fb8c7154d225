"""Trials that end before their last token: when they may, and what their ends would have been.

A trial's end is predicted from the trials that passed the same rung (`mixopt.laws.curve_ends`).
That needs aligned curves: one fidelity, one learning-rate rule, and a rung after which no mixture
changes any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixopt.laws import CurveEnds, Likely, fit_curve_ends
from mixopt.space import Fidelity, Objective, SearchSpace, Trial, geometry_of

Values = Mapping[str, float]
#: Metrics per tokens and trial.
Rungs = Mapping[int, Mapping[str, Values]]

#: Finished trials from which ends are predicted, and trials at a rung from which they are compared.
LEAST_ENDS, LEAST_THERE = 2, 2
#: Chance of ending better than the best below which a trial is not worth its rest.
CHANCE = 0.05
#: Improvement on the best that is worth a whole run, in standard deviations of a run's noise: that
#: at which a search is over (``mixopt.propose.stopping``).
PRICE = 0.5


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
    """Trials whose curves are aligned at one rung.

    Attributes:
        objective: What is improved.
        share: Of a run's tokens at the rung.
        rungs: Metrics of the finished trials at the rung.
        ends: Metrics of the finished trials at the end.
        others: Metrics of the other trials at the rung, those that go on among them.
        earlier: Metrics of all trials at each earlier rung at which one ended.
    """

    objective: Objective
    share: float
    rungs: Sequence[Values]
    ends: Sequence[Values]
    others: Sequence[Values]
    earlier: Sequence[Sequence[Values]] = ()

    @property
    def enough(self) -> bool:
        """Whether ends can be predicted."""
        return len(self.ends) >= LEAST_ENDS and self.comparable

    @property
    def comparable(self) -> bool:
        """Whether enough trials were seen at the rung to say what is a large difference."""
        return len(self.rungs) + len(self.others) >= LEAST_THERE

    def end_of(self, values: Values) -> EarlyEnd:
        """Where a trial with these values at the rung ends."""
        seen = (*self.rungs, *self.others, *self.ends)
        names = [n for n in values if all(n in other for other in seen)]
        found = self._line(names).predict(self._row(values, names))
        whole = self._line(None).predict(self._row(values, None))
        ends = zip(names, found.mean[0].tolist(), strict=True)
        return EarlyEnd(
            {name: self.objective.kind_of(name).nearest(end) for name, end in ends},
            dict(zip(names, found.sd[0].tolist(), strict=True)),
            float(whole.mean[0, 0]),
            float(whole.sd[0, 0]),
        )

    def chance(self, values: Values, bound: float) -> float:
        """Probability of an end better than a bound of the objective."""
        return float(self._minimised(values).below(self.objective.sign * bound)[0, 0])

    def gain(self, values: Values, bound: float) -> float:
        """Expected improvement of the end on a bound of the objective."""
        return float(self._minimised(values).gain(self.objective.sign * bound)[0, 0])

    def chance_beside(self, values: Values, slack: float) -> float:
        """Probability of an end better than that of the best trial at the rung, with a slack."""
        sign = self.objective.sign
        best = min((*self.rungs, *self.others), key=lambda v: sign * self.objective.value(v))
        line = self._line(None)
        apart = line.apart(self._row(values, None), self._row(best, None))
        return float(replace(apart, mean=sign * apart.mean).below(slack)[0, 0])

    def _minimised(self, values: Values) -> Likely:
        """The objective at the end, or minus it where it is to be maximised."""
        end = self._line(None).predict(self._row(values, None))
        return replace(end, mean=self.objective.sign * end.mean)

    def _row(self, values: Values, names: Sequence[str] | None) -> NDArray[np.float64]:
        """These metrics, or the objective, ``1 x m``."""
        found = [self.objective.value(values)] if names is None else [values[n] for n in names]
        return np.array([found])

    def _line(self, names: Sequence[str] | None) -> CurveEnds:
        """How these metrics, or the objective, go on from the rung."""
        width = 1 if names is None else len(names)

        def rows(part: Sequence[Values]) -> NDArray[np.float64]:
            known = [v for v in part if all(n in v for n in names or ())]
            return np.vstack([np.empty((0, width)), *(self._row(v, names) for v in known)])

        seen = map(rows, ([*self.rungs, *self.others], *self.earlier))
        spread = np.max([part.std(0) for part in seen if len(part)], axis=0)
        return fit_curve_ends(rows(self.rungs), rows(self.ends), spread, self.share)


def aligned(space: SearchSpace, fidelities: Sequence[Fidelity]) -> bool:
    """Whether trials of a study have curves that can be compared at a rung."""
    return not fidelities and not geometry_of(space).rate_axes


def curves_at(
    objective: Objective,
    trial: Trial,
    tokens: int,
    trials: Iterable[Trial],
    ends: Mapping[str, Values],
    rungs: Rungs,
) -> Curves | None:
    """The curves that say where a trial ends; None where they say nothing.

    Args:
        objective: What is improved.
        trial: Whose end is wanted.
        tokens: At its rung.
        trials: Those to compare with.
        ends: Metrics at the ends of the finished ones.
        rungs: Metrics at the rung, and at those at which trials ended.
    """
    if not _settled(trial, tokens):
        return None
    alike = [t for t in trials if t.fidelity == trial.fidelity and t.id != trial.id]

    def passed(rung: int) -> dict[str, Values]:
        found = {t.id: rungs.get(rung, {}).get(t.id, {}) for t in alike if _settled(t, rung)}
        return {i: v for i, v in found.items() if all(m in v for m in objective.metrics)}

    there = passed(tokens)
    done = [i for i in there if i in ends]
    others = [values for i, values in there.items() if i not in ends]
    earlier = [list(passed(rung).values()) for rung in rungs if rung < tokens]
    share = tokens / trial.fidelity.tokens
    known = [there[i] for i in done], [ends[i] for i in done]
    return Curves(objective, share, *known, others, earlier)


def _settled(trial: Trial, tokens: int) -> bool:
    """Whether no mixture changes any more after so many tokens."""
    before = 1.0 - trial.schedule.phases[-1].fraction
    return tokens > 0 and before * trial.fidelity.tokens <= tokens * (1 + 1e-9)


def why_end(curves: Curves, values: Values, best: float | None, noise: float) -> str | None:
    """Why a trial may end at a rung; None where it goes on.

    It may where it will hardly be better than the best finished trial, or than the best trial at
    the rung, one standard deviation of the noise allowed for the luck of those; or where it seems
    to end worse than the best finished trial, and what its rest is expected to improve on that one
    is worth less than the tokens (the knowledge gradient of Frazier et al., 2008, of one arm). So a
    trial that seems the best goes on.

    Args:
        curves: Aligned at the rung; the trial's own is none of them.
        values: Of the trial, at the rung.
        best: Objective of the best finished trial; None without one.
        noise: Standard deviation of one run's objective; 0 where it is not known.
    """
    if not curves.comparable:
        return None
    beside = curves.chance_beside(values, noise)
    if beside < CHANCE:
        return f"its chance to end better than the best trial at its rung is {beside:.3f}"
    if best is None or not curves.enough:
        return None
    sign, end = curves.objective.sign, curves.end_of(values)
    likely = f"it would end at {end.objective:.4f} ± {1.96 * end.objective_sd:.4f}"
    chance = curves.chance(values, best + sign * noise)
    if chance < CHANCE:
        return f"{likely}, with a chance of {chance:.3f} to come near the best ({best:.4f})"
    gain, worth = curves.gain(values, best), PRICE * noise * (1 - curves.share)
    if gain <= worth and sign * (end.objective - best) > 0:
        return (
            f"{likely}, and is expected to improve on the best ({best:.4f}) by {gain:.5f}, where "
            f"the tokens left are worth {worth:.5f}"
        )
    return None
