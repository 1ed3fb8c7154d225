"""Schedules trained side by side with common seeds: confirmation, attribution, controls, rates.

A run is named by what was run, never by its label: the digest of schedule, fidelity, seed and
split. So questions share their runs, and a schedule never shows the runs of another one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mixopt.errors import StudyError
from mixopt.space import Fidelity, Kind, Schedule, Split, Trial
from mixopt.space.effect import Effect
from mixopt.study.config import derived_seed
from mixopt.study.state import StudyState, Values
from mixopt.study.storage import State, TrialRecord

if TYPE_CHECKING:
    from mixopt.propose import Confirmation, Recommendation

OBJECTIVE = "objective"
BASELINE = "baseline"
RECOMMENDATION = "recommendation"

#: Per label and seed, the metrics at the end and ``objective``.
SeedValues = dict[str, dict[int, Values]]


def comparison_seeds(state: StudyState, seeds: int) -> list[int]:
    """The fresh seeds that all comparisons of a study share."""
    return [derived_seed(state.seed, "confirmation", str(k)) for k in range(seeds)]


def run_digest(schedule: Schedule, fidelity: Fidelity, seed: int, split: Split) -> str:
    """What names a run; weights that differ by rounding alone name the same one."""
    facts = [
        _rounded(schedule.model_dump(mode="json")),
        fidelity.model_dump(mode="json"),
        seed,
        split.value,
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        # A weight of 0 is the same as none, and a phase's name changes nothing of the training.
        below = {k: _rounded(v) for k, v in value.items() if k != "name"}
        return {k: v for k, v in below.items() if not isinstance(v, float) or v != 0}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return round(value, 6) if isinstance(value, float) else value


def plan_runs(
    state: StudyState,
    schedules: Mapping[str, Schedule],
    *,
    seeds: int,
    split: Split = Split.confirmation,
    kind: Kind = Kind.comparison,
) -> list[Trial]:
    """The runs of a comparison, a seed at a time; nothing is stored.

    Args:
        state: Gives fidelity and seeds; a run that it has already keeps its id.
        schedules: Per label; they need not lie in the study's space.
        seeds: Runs of each.
        split: Held-out documents to measure on; by default those the search never saw.
        kind: Of the new runs.
    """
    known = {_digest_of(r.trial): r.trial for r in state.records}
    runs: dict[str, Trial] = {}
    for seed in comparison_seeds(state, seeds):
        for label, schedule in schedules.items():
            digest = run_digest(schedule, state.fidelity, seed, split)
            new = Trial(
                id=f"x-{digest}",
                kind=kind,
                schedule=schedule,
                fidelity=state.fidelity,
                seed=seed,
                label=label,
                split=split,
            )
            runs.setdefault(digest, known.get(digest, new))
    return list(runs.values())


def require_pairs(seeds: int) -> None:
    """Refuse a comparison that cannot have an interval.

    Raises:
        StudyError: If fewer than two seeds are asked for.
    """
    if seeds < 2:
        raise StudyError(
            f"a comparison needs at least two seeds to have an interval; got {seeds}",
            "three are the default",
        )


def _digest_of(trial: Trial) -> str:
    return run_digest(trial.schedule, trial.fidelity, trial.seed, trial.split)


def comparison_values(
    state: StudyState,
    schedules: Mapping[str, Schedule],
    *,
    split: Split = Split.confirmation,
    measured: Split | None = None,
) -> SeedValues:
    """Every metric and the objective, per label and seed, of the runs that are finished.

    Args:
        state: Has the runs.
        schedules: Per label.
        split: Of the runs.
        measured: Split that the values are of; None for the runs' own. A run may be measured on
            both.
    """
    found: SeedValues = {}
    for label, runs in finished_runs(state, schedules, split=split).items():
        values = {s: _values(state, r, measured) for s, r in runs.items()}
        found[label] = {s: v for s, v in values.items() if v}
    return found


def finished_runs(
    state: StudyState, schedules: Mapping[str, Schedule], *, split: Split = Split.confirmation
) -> dict[str, dict[int, TrialRecord]]:
    """The finished runs of schedules, per label and seed, in the order in which they were made."""
    mine = [r for r in state.records if r.state == State.finished and r.trial.split == split]
    finished = {_digest_of(r.trial): r for r in mine}
    seeds = dict.fromkeys(r.trial.seed for r in mine)
    found = {}
    for label, schedule in schedules.items():
        runs = {s: finished.get(run_digest(schedule, state.fidelity, s, split)) for s in seeds}
        found[label] = {s: r for s, r in runs.items() if r is not None}
    return found


def _values(state: StudyState, record: TrialRecord, split: Split | None) -> Values:
    found = state.last.get((record.trial.id, split or record.trial.split), {})
    if any(name not in found for name in state.objective.weights):
        return {}
    return {OBJECTIVE: state.objective.value(found), **found}


def paired_effects(
    one: Mapping[int, Values], other: Mapping[int, Values], level: float = 0.95
) -> dict[str, Effect]:
    """``one - other`` per metric over the seeds that finished on both sides, objective first.

    Args:
        one: Metrics per seed.
        other: Metrics per seed.
        level: Probability of the intervals.

    Raises:
        StudyError: If fewer than two seeds did.
    """
    seeds = sorted(one.keys() & other.keys())
    first = one[seeds[0]] if seeds else {}
    names = [n for n in first if all(n in one[s] and n in other[s] for s in seeds)]
    if not names:
        return {OBJECTIVE: Effect.of([])}
    return {n: Effect.of([one[s][n] - other[s][n] for s in seeds], level) for n in names}


def confirmation_schedules(
    state: StudyState, recommendation: Recommendation
) -> dict[str, Schedule]:
    """The recommendation and its rivals; a schedule equal to an earlier one is left out.

    The rivals are the baseline, the uniform mixture, and the static mixture of the same exposure.
    """
    space = state.space
    candidates = {
        RECOMMENDATION: recommendation.schedule,
        BASELINE: space.baseline_schedule,
        "uniform": Schedule.static(space.uniform, space.usual_rule),
        "static": recommendation.static_control,
    }
    kept: dict[str, Schedule] = {}
    taken: set[str] = set()
    for label, schedule in candidates.items():
        digest = run_digest(schedule, state.fidelity, 0, Split.confirmation)
        if digest not in taken:
            kept[label] = schedule
        taken.add(digest)
    return kept


def confirmation_runs(state: StudyState, recommendation: Recommendation) -> list[Trial]:
    """The runs that check a recommendation on text the search never saw; nothing is stored.

    Every schedule is trained with the same fresh seeds, as many as the settings say.
    """
    return plan_runs(
        state,
        confirmation_schedules(state, recommendation),
        seeds=state.settings.confirm_seeds,
        kind=Kind.confirmation,
    )


def confirmed(state: StudyState, recommendation: Recommendation) -> list[Confirmation]:
    """The finished confirmation runs of a recommendation and its rivals, one entry per schedule."""
    from mixopt.propose import Confirmation

    schedules = confirmation_schedules(state, recommendation)
    unseen = _objectives(comparison_values(state, schedules))
    seen = _objectives(comparison_values(state, schedules, measured=Split.validation))
    base = unseen[BASELINE if BASELINE in unseen else RECOMMENDATION]
    return [
        Confirmation.of(label, schedule, unseen[label], seen[label], base)
        for label, schedule in schedules.items()
        if unseen[label]
    ]


def _objectives(values: SeedValues) -> dict[str, dict[int, float]]:
    return {label: {s: v[OBJECTIVE] for s, v in runs.items()} for label, runs in values.items()}


def open_runs(state: StudyState, trials: Sequence[Trial]) -> list[Trial]:
    """Those of the stored trials that are not over yet, in their order."""
    return [state.by_id[t.id].trial for t in trials if state.by_id[t.id].open]
