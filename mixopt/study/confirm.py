"""Confirmation: the recommendation and its rivals, trained afresh and measured on unseen text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mixopt.space import Fidelity, Kind, Schedule, SearchSpace, Split, Trial, geometry_of
from mixopt.study.results.final_values import by_trial, last_values
from mixopt.study.storage import State

if TYPE_CHECKING:
    from mixopt.propose import Confirmation, Recommendation
    from mixopt.study.study import Study

BASELINE = "baseline"


def confirmation_trials(
    recommendation: Recommendation,
    space: SearchSpace,
    fidelity: Fidelity,
    *,
    prefix: str,
    number: int,
    seeds: Sequence[int],
) -> list[Trial]:
    """Every label with every seed; a schedule equal to an earlier one is left out.

    Args:
        recommendation: What is to be confirmed.
        space: Gives the baseline and the uniform mixture.
        fidelity: Of the runs.
        prefix: Of their ids.
        number: Their round.
        seeds: The same for every label, so that differences can be taken pairwise.
    """
    candidates = {
        "recommendation": recommendation.schedule,
        BASELINE: space.baseline_schedule,
        "uniform": Schedule.static(space.uniform, space.usual_rule),
        "static": recommendation.static_control,
    }
    kept: dict[str, Schedule] = {}
    for label, schedule in candidates.items():
        if not any(_same(space, schedule, other) for other in kept.values()):
            kept[label] = schedule
    return [
        Trial(
            id=f"{prefix}-{label}-s{k}",
            round=number,
            kind=Kind.confirmation,
            schedule=schedule,
            fidelity=fidelity,
            seed=seed,
            label=label,
            split=Split.confirmation,
        )
        for k, seed in enumerate(seeds)
        for label, schedule in kept.items()
    ]


def _same(space: SearchSpace, one: Schedule, other: Schedule) -> bool:
    encode = geometry_of(space).encode
    return len(one.phases) == len(other.phases) and bool(
        np.allclose(encode(one), encode(other), atol=1e-6)
    )


def summarise(trials: Sequence[Trial], values: Mapping[str, float]) -> list[Confirmation]:
    """Mean objective and standard error per label, in the order in which they were run."""
    from mixopt.propose import Confirmation

    out = []
    for label in dict.fromkeys(t.label for t in trials):
        mine = [t for t in trials if t.label == label]
        found = [values[t.id] for t in mine]
        out.append(
            Confirmation(
                label=label,
                schedule=mine[0].schedule,
                values=tuple(found),
                mean=float(np.mean(found)),
                se=standard_error(found),
            )
        )
    return out


def search_rounds(study: Study) -> int:
    """How many rounds of the search a study has proposed."""
    return len({r.trial.round for r in study.records() if r.search})


def confirmed(study: Study) -> list[Confirmation]:
    """The finished confirmation runs of what the search last led to, one entry per schedule."""
    rounds = search_rounds(study)
    records = [
        r for r in study.records() if r.trial.kind == Kind.confirmation and r.trial.round == rounds
    ]
    groups = by_trial(study.store.observations(study.id))
    values = {
        r.trial.id: study.objective.value(last_values(groups[r.trial.id], r.trial.split))
        for r in records
        if r.state == State.finished
    }
    return summarise([r.trial for r in records if r.trial.id in values], values)


def standard_error(values: Sequence[float]) -> float:
    """Of the mean; not a number for a single value, which says nothing of its spread."""
    if len(values) < 2:
        return float("nan")
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def paired_difference(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Mean of ``one - other`` over common seeds and its standard error.

    Both were trained with the same seeds, so the spread of initialisation and data order that they
    share cancels. Where runs failed and the numbers differ, the errors are added in quadrature.
    """
    if len(one) == len(other):
        gaps = np.subtract(one, other)
        return float(gaps.mean()), standard_error(gaps.tolist())
    gap = float(np.mean(one) - np.mean(other))
    return gap, float(np.hypot(standard_error(one), standard_error(other)))
