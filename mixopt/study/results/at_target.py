"""A recommendation at the target of a study whose trials differ in fidelity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixopt.space import Fidelity
from mixopt.study.config import named
from mixopt.study.state import StudyState

if TYPE_CHECKING:
    from mixopt.propose import Recommendation
    from mixopt.surrogate import ScaleSurrogate, Surrogate

#: Factor in parameters or tokens beyond the highest trials from which a reader is warned.
FAR = 4.0


def at_target(
    state: StudyState, recommendation: Recommendation, surrogate: Surrogate | ScaleSurrogate
) -> Recommendation:
    """The recommendation with its target, and with what was really observed nearest to it.

    Values of cheaper trials are never shown as observed: the best observed is one of the highest
    fidelity that has finished.
    """
    from mixopt.propose import Observed, RankAgreement
    from mixopt.surrogate import ScaleSurrogate

    if not isinstance(surrogate, ScaleSurrogate):
        return recommendation
    finals, seen = state.finals, state.learned_from
    top = max((t.fidelity for t in seen), key=lambda f: f.flops)
    values = {t.id: state.objective.value(finals[t.id]) for t in seen if t.fidelity == top}
    best = min(values, key=lambda name: values[name])
    chosen = next(t for t in seen if t.id == best)
    base = state.space.baseline_schedule
    same = [values[t.id] for t in seen if t.id in values and t.schedule == base]
    agreement = tuple(
        RankAgreement(low=a.low, high=a.high, mixtures=a.mixtures, spearman=a.spearman)
        for a in surrogate.agreement
    )
    return recommendation.model_copy(
        update={
            "target": surrogate.target,
            "agreement": agreement,
            "best_observed": Observed(
                trial=best, value=values[best], schedule=chosen.schedule, fidelity=top
            ),
            "baseline_observed": float(np.mean(same)) if same else None,
            "baseline_runs": len(same),
            "notes": (*recommendation.notes, *_notes(state, surrogate, top, len(values))),
        }
    )


def _notes(state: StudyState, surrogate: ScaleSurrogate, top: Fidelity, runs: int) -> list[str]:
    """What to know about predictions that speak of a target."""
    w = state.objective.coefficients(list(surrogate.metrics))
    level = float(np.sqrt(w @ surrogate.level @ w))
    said = [
        f"predictions are of {named(surrogate.target)}, from trials of "
        f"{len(state.config.fidelities)} fidelities, {runs} of them at the highest "
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
