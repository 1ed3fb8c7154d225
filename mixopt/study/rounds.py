"""A study's next round, and whether there should be one: from stored results and the seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from mixopt.space import Fidelity, Kind, Schedule, Trial, geometry_of
from mixopt.study.config import derived_seed, trial_seed
from mixopt.study.cost import trunk_sharing
from mixopt.study.fidelity_placement import Placed, distinct_initial, place_initial, place_proposed
from mixopt.study.storage import State, TrialRecord

if TYPE_CHECKING:
    from mixopt.study.study import Study


def next_round(study: Study, n: int | None) -> list[Trial]:
    """The trials of the next round, cut to what the budget pays for.

    Args:
        study: All its trials so far must be finished or failed.
        n: Size of the round after the first; None for the study's batch.
    """
    records = study.records()
    rounds = [r.trial.round for r in records if r.search]
    number = max(rounds, default=-1) + 1
    attached = sum(r.trial.kind == Kind.attached for r in records)
    initial = study.config.initial - attached
    if not rounds and initial > 0:
        kind, size = Kind.initial, _affordable(study, initial)
    else:
        kind, size = Kind.proposed, _affordable(study, n or study.settings.batch)
    if size < 1:
        return []
    placed = _placed(study, kind, size, number)
    known = {_key(study, r.trial.schedule, r.trial.fidelity) for r in records}
    ids = [f"r{number:02d}-t{index:02d}" for index in range(len(placed))]
    return [
        Trial(
            id=name,
            round=number,
            kind=kind,
            schedule=schedule,
            fidelity=fidelity,
            # A repeated schedule needs a seed of its own, not that of the trunk it was run with.
            seed=trial_seed(
                study.seed,
                name,
                schedule,
                1 if _key(study, schedule, fidelity) in known else len(study.space.phases),
            ),
        )
        for name, (schedule, fidelity) in zip(ids, placed, strict=True)
    ]


def _key(study: Study, schedule: Schedule, size: Fidelity) -> tuple[float, ...]:
    row = geometry_of(study.space).encode(schedule).round(8).tolist()
    return (*row, size.parameters, size.tokens)


def _affordable(study: Study, wanted: int) -> int:
    if study.budget is None:
        return wanted
    return study.budget.affordable(study.spent(), wanted, study.config.cheapest)


def _placed(study: Study, kind: Kind, size: int, number: int) -> list[Placed]:
    from mixopt.propose import initial_design, propose_batch

    seed = derived_seed(study.seed, "round", str(number))
    if kind == Kind.initial:
        distinct = distinct_initial(study, size)
        first = _first(study)[:distinct]
        design = initial_design(study.space, distinct, seed=seed, include=first)
        return place_initial(study, design, size)
    evidence, surrogate = study.learned()
    schedules = propose_batch(
        study.space,
        study.objective,
        surrogate,
        evidence,
        size,
        seed=seed,
        replicates=_replicates(study, size),
        sharing=trunk_sharing(study),
    )
    return place_proposed(study, surrogate, schedules)


def _replicates(study: Study, size: int) -> int | Literal["auto"]:
    wanted = study.settings.replicates
    return "auto" if wanted == "auto" else min(wanted, size)


def _first(study: Study) -> list[Schedule]:
    """What every study begins with: the baseline, and the schedule that matches the objective."""
    from mixopt.propose import NEAR, matched_schedule, schedule_distance

    space, baseline = study.space, study.space.baseline_schedule
    matched = matched_schedule(space, study.objective)
    if matched is None:
        return [baseline]
    geometry = geometry_of(space)
    rows = [geometry.encode(schedule)[None] for schedule in (baseline, matched)]
    apart = schedule_distance(geometry.layout, *rows)[0, 0]
    return [baseline, matched] if apart >= NEAR else [baseline]


def no_gain(study: Study) -> str | None:
    """Why more trials no longer pay; None while they do.

    The decision is made once per set of finished trials and kept as an event, so that a run that
    goes on decides as the one before it did.
    """
    records = study.records()
    if not any(r.search for r in records):
        return None
    finished = _learned_from(records)
    made = study.store.events(study.id, "decision")
    if not made or made[-1]["trials"] != finished:
        made.append(_decide(study, finished))
    last = made[-study.settings.patience :]
    if len(last) < study.settings.patience or not all(d["stop"] for d in last):
        return None
    return str(last[-1]["reason"])


def _learned_from(records: Sequence[TrialRecord]) -> int:
    checks = (Kind.confirmation, Kind.comparison)
    return sum(r.state == State.finished and r.trial.kind not in checks for r in records)


def _decide(study: Study, finished: int) -> dict[str, Any]:
    from mixopt.propose import should_stop

    evidence, surrogate = study.learned()
    seed = derived_seed(study.seed, "stop", str(finished))
    decision = should_stop(study.space, study.objective, surrogate, evidence, seed=seed)
    payload = {"trials": finished, **decision.model_dump(mode="json")}
    study.store.add_event(study.id, "decision", payload)
    return payload
