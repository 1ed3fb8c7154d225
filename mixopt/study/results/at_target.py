"""A recommendation at the target of runs that differ in fidelity."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mixopt.space import Fidelity, Objective, Schedule
from mixopt.study.config import named

if TYPE_CHECKING:
    from mixopt.propose import Observed, Recommendation
    from mixopt.surrogate import ScaleSurrogate

#: Factor in parameters or tokens beyond the highest trials from which a reader is warned.
FAR = 4.0


def at_target(
    recommendation: Recommendation,
    surrogate: ScaleSurrogate,
    objective: Objective,
    runs: Sequence[Observed],
    baseline: Schedule,
) -> Recommendation:
    """The recommendation with its target, and with what was really observed nearest to it.

    Values of cheaper runs are never shown as observed: the best observed is one of the highest
    fidelity that has finished.

    Args:
        recommendation: At the target.
        surrogate: Fitted to the runs.
        objective: To minimise.
        runs: All that were learned from, each with its fidelity.
        baseline: The schedule to compare with.
    """
    from mixopt.propose import RankAgreement

    fidelities = {run.fidelity for run in runs if run.fidelity is not None}
    top = max(fidelities, key=lambda f: f.flops)
    there = [run for run in runs if run.fidelity == top]
    same = [run.value for run in there if run.schedule == baseline]
    agreement = tuple(
        RankAgreement(low=a.low, high=a.high, mixtures=a.mixtures, spearman=a.spearman)
        for a in surrogate.agreement
    )
    notes = _notes(surrogate, objective, fidelities, top, len(there))
    return recommendation.model_copy(
        update={
            "target": surrogate.target,
            "agreement": agreement,
            "best_observed": min(there, key=lambda run: objective.sign * run.value),
            "baseline_observed": float(np.mean(same)) if same else None,
            "baseline_runs": len(same),
            "notes": (*recommendation.notes, *notes),
        }
    )


def _notes(
    surrogate: ScaleSurrogate,
    objective: Objective,
    fidelities: Collection[Fidelity],
    top: Fidelity,
    runs: int,
) -> list[str]:
    """What to know about predictions that speak of a target."""
    w = objective.coefficients(list(surrogate.metrics))
    level = float(np.sqrt(w @ surrogate.level @ w))
    said = [
        f"predictions are of {named(surrogate.target)}, from trials of "
        f"{len(fidelities)} fidelities, {runs} of them at the highest "
        f"({named(top)}); the level there is known to {1.96 * level:.3g} (95 %), which moves all "
        "schedules alike"
    ]
    far = max(surrogate.target.parameters / top.parameters, surrogate.target.tokens / top.tokens)
    if far > FAR:
        said.append(
            f"the target lies a factor of {far:.3g} beyond the highest trials: how mixtures rank "
            "there is extrapolated too, so confirm at the largest run you can afford"
        )
    if not surrogate.agreement:
        said.append("no two fidelities share three schedules: their rank agreement is not known")
    worst = min(surrogate.agreement, key=lambda a: a.spearman, default=None)
    if worst is not None and worst.spearman < 0.7:
        said.append(
            f"the ranking at {named(worst.low)} agrees little with that at {named(worst.high)} "
            f"(Spearman {worst.spearman:.2f} over {worst.mixtures} schedules): trust larger runs"
        )
    return said
