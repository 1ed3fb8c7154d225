"""From a snapshot to what is learned: the ends of trials, and their surrogate.

A trial that ended early enters with its predicted end, and the variance of that beside the noise.

Trials of every fidelity go into one surrogate of the losses at the target: the space's, or else the
highest fidelity of the study.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.errors import StudyError
from mixopt.space import geometry_of
from mixopt.study.config import derived_seed
from mixopt.study.state import StudyState
from mixopt.study.storage import State

if TYPE_CHECKING:
    from mixopt.propose import Evidence
    from mixopt.surrogate import SurrogateModel


def build_evidence(state: StudyState, extra: bool = False) -> Evidence:
    """Trials as arrays, in the order in which they were proposed.

    Args:
        state: Of the study.
        extra: Whether to add the metrics that every trial has beside the objective's.

    Raises:
        StudyError: If fewer than two trials are finished.
    """
    from mixopt.propose import Evidence

    used, early = state.learned_from, state.early_ends
    values = {**state.finals, **{name: end.values for name, end in early.items()}}
    if len(used) < 2:
        raise StudyError(
            f"learning from trials needs at least two finished ones; the study has {len(used)}",
            _why_none(state),
        )
    # A stored objective forgets its order, and the last digits of a fit depend on it.
    metrics = sorted(state.objective.metrics)
    if extra:
        shared = set.intersection(*(set(values[t.id]) for t in used))
        metrics += sorted(shared - set(metrics))
    sd = [[early[t.id].sd[m] if t.id in early else 0.0 for m in metrics] for t in used]
    return Evidence(
        X=np.stack([geometry_of(state.space).encode(t.schedule) for t in used]),
        Y=np.array([[values[t.id][m] for m in metrics] for t in used]),
        metrics=tuple(metrics),
        ids=tuple(t.id for t in used),
        variance=np.square(sd) if early else None,
    )


def _why_none(state: StudyState) -> str:
    failed = [r for r in state.records if r.state == State.failed]
    if failed:
        return (
            f"{len(failed)} failed, the first because: {failed[0].reason}; mend it and call requeue"
        )
    if state.left_out:
        return " ".join(state.left_out)
    return "run the trials that ask returned and tell their results"


def fit_evidence(state: StudyState, evidence: Evidence) -> tuple[Evidence, SurrogateModel]:
    """The surrogate of a study's evidence, and the evidence as it sees it.

    With several fidelities the values are those extrapolated to the target.
    """
    from mixopt.surrogate import SurrogateSettings, fit_metrics, fit_scale_surrogate

    space, seed = state.space, derived_seed(state.seed, "surrogate")
    rows = geometry_of(space).layout.trained_on(state.fidelity.tokens), evidence.X
    names = evidence.metrics, space.names
    groups = np.array(state.seed_groups(evidence.ids))
    laws = state.config.laws
    shared: Any = {
        "seed": seed,
        "groups": groups,
        "settings": None if laws is None else SurrogateSettings(laws=laws),
    }
    if not state.config.fidelities:
        shared |= {"kinds": state.objective.kinds, "uncertainty": evidence.variance}
        return evidence, fit_metrics(*rows, evidence.Y, *names, **shared)
    where = [state.by_id[name].trial.fidelity for name in evidence.ids]
    fit = fit_scale_surrogate(
        *rows,
        np.array([float(f.parameters) for f in where]),
        np.array([float(f.tokens) for f in where]),
        evidence.Y,
        *names,
        target=space.target or state.fidelity,
        **shared,
    )
    return type(evidence)(evidence.X, fit.extrapolated, evidence.metrics, evidence.ids), fit
