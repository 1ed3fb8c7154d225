"""One snapshot of a study: read once per operation, passed on, never changed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mixopt.space import Kind, Observation, Schedule, Split, Trial
from mixopt.study.budget import Spent
from mixopt.study.config import Configured, StudyConfig, StudySettings, derived_seed
from mixopt.study.device_time import DeviceTime
from mixopt.study.early_ends import Curves, EarlyEnd, Rungs, aligned, curves_at
from mixopt.study.storage import State, TrialRecord
from mixopt.study.storage.rows import unknown_trial

Values = dict[str, float]

#: Kinds of trials that compare schedules; the search does not learn from them.
CHECKS = (Kind.confirmation, Kind.comparison)


@dataclass(frozen=True)
class StudyState(Configured):
    """What a study knows at one moment.

    Args:
        name: Of the study.
        config: What its results depend on.
        settings: What may change between runs.
        records: Every trial, in the order in which they were proposed.
        last: Per trial and split, each metric after the most tokens.
        events: The study's log, oldest first.
        rungs: Metrics at the rungs at which trials ended early, per tokens and trial.
    """

    name: str
    config: StudyConfig
    settings: StudySettings
    records: tuple[TrialRecord, ...]
    last: Mapping[tuple[str, Split], Values]
    events: tuple[Mapping[str, Any], ...]
    rungs: Rungs = field(default_factory=dict)

    @cached_property
    def by_id(self) -> dict[str, TrialRecord]:
        """Every trial by its id."""
        return {r.trial.id: r for r in self.records}

    def record_of(self, trial: str) -> TrialRecord:
        """One trial with its state.

        Raises:
            StudyError: If the study has none of that id.
        """
        if trial not in self.by_id:
            raise unknown_trial(trial)
        return self.by_id[trial]

    @cached_property
    def search(self) -> tuple[TrialRecord, ...]:
        """The trials that the search proposed."""
        return tuple(r for r in self.records if r.search)

    @cached_property
    def open_search(self) -> tuple[TrialRecord, ...]:
        """Those of them that are not over yet."""
        return tuple(r for r in self.search if r.open)

    @cached_property
    def spent(self) -> Spent:
        """What the search has spent; trials in flight and failed ones count."""
        time = self.device_time
        hours = time.hours(sum(map(time.seconds_of, self.search)))
        return Spent.of(list(map(self._as_trained, self.search)), time.cost, hours)

    def _as_trained(self, record: TrialRecord) -> Trial:
        """The trial, with the tokens that it was trained on where it ended early."""
        last = self._last_rung(record)
        if last is None:
            return record.trial
        size = record.trial.fidelity.model_copy(update={"tokens": max(last, 1)})
        return record.trial.model_copy(update={"fidelity": size})

    def _last_rung(self, record: TrialRecord) -> int | None:
        """Tokens at which a trial ended early; None where it did not."""
        if record.state != State.ended_early:
            return None
        passed = [tokens for tokens, values in self.rungs.items() if record.trial.id in values]
        return max(passed, default=None)

    @cached_property
    def device_time(self) -> DeviceTime:
        """What runs take of the devices, from those that are over."""
        return DeviceTime.of(self.records, self.settings)

    @property
    def rounds(self) -> int:
        """How many rounds the search has proposed; the number of the next one."""
        return max((r.trial.round for r in self.search), default=-1) + 1

    @property
    def round_seed(self) -> int:
        """The seed of what is drawn for the next round."""
        return derived_seed(self.seed, "round", str(self.rounds))

    @cached_property
    def block_seeds(self) -> tuple[int, ...]:
        """The seeds that trials are spread over, by block; see ``mixopt.study.seed_blocks``."""
        blocks = range(self.settings.seed_blocks)
        return tuple(derived_seed(self.seed, "block", str(block)) for block in blocks)

    @cached_property
    def finals(self) -> dict[str, Values]:
        """Per finished trial, each metric at its end on the trial's own split."""
        return {
            r.trial.id: dict(self.last.get((r.trial.id, r.trial.split), {}))
            for r in self.records
            if r.state == State.finished
        }

    def value_of(self, record: TrialRecord) -> float | None:
        """The objective of a trial at its last rung; None while it has none.

        Of a trial that ended early it is the predicted end, where there is one.
        """
        if record.trial.id in self.early_ends:
            return self.early_ends[record.trial.id].objective
        values = self.last.get((record.trial.id, record.trial.split), {})
        if any(name not in values for name in self.objective.weights):
            return None
        return self.objective.value(values)

    @cached_property
    def finished(self) -> tuple[Trial, ...]:
        """The finished trials of the search and those attached, in order.

        In a study of one fidelity a run of another fidelity is not one of them: its losses are
        not those of the study's size.
        """
        return tuple(
            r.trial
            for r in self.records
            if r.trial.id in self.finals and r.trial.kind not in CHECKS and self._comparable(r)
        )

    @cached_property
    def early_ends(self) -> Mapping[str, EarlyEnd]:
        """The predicted ends of trials of the search that ended early, where there are any."""
        found = {}
        for record in self.search:
            tokens = self._last_rung(record)
            curves = None if tokens is None else self.curves_at(record.trial, tokens)
            if tokens is not None and curves is not None and curves.enough:
                values = self.rungs[tokens][record.trial.id]
                found[record.trial.id] = curves.end_of(values)
        return found

    def curves_at(
        self, trial: Trial, tokens: int, rungs: Mapping[str, Values] | None = None
    ) -> Curves | None:
        """Curves that say where a trial ends; None where they say nothing.

        Args:
            trial: Whose end is wanted.
            tokens: At its rung.
            rungs: Metrics there, per trial; None where a trial ended early there.
        """
        if not aligned(self.space, self.config.fidelities):
            return None
        passed = self.rungs.get(tokens, {}) if rungs is None else rungs
        known = [t.trial for t in self.search]
        seen = {**self.rungs, tokens: passed}
        return curves_at(self.objective, trial, tokens, known, self.finals, seen)

    @property
    def best_finished(self) -> float | None:
        """Objective of the best finished trial that keeps the guardrails; None without one."""
        base = next((t for t in self.finished if t.schedule == self.space.baseline_schedule), None)
        at_base = None if base is None else self.finals[base.id]
        kept = [v for t in self.finished if self.objective.kept(v := self.finals[t.id], at_base)]
        values = map(self.objective.value, kept)
        return min(values, key=lambda v: self.objective.sign * v, default=None)

    @property
    def noise(self) -> float:
        """Noise of one run's objective, as the last decision found it; 0 before the first."""
        return float(self.decisions[-1]["noise"]) if self.decisions else 0.0

    @cached_property
    def learned_from(self) -> tuple[Trial, ...]:
        """The finished trials, and those that ended early with a predicted end, in order."""
        finished = {t.id for t in self.finished}
        known = finished | self.early_ends.keys()
        return tuple(r.trial for r in self.records if r.trial.id in known)

    @cached_property
    def left_out(self) -> tuple[str, ...]:
        """Sentences on the trials that the surrogate does not learn from as they are."""
        mine = [r for r in self.records if r.trial.kind not in CHECKS]
        early = [r for r in mine if r.state == State.ended_early]
        unknown = sum(r.trial.id not in self.early_ends for r in early)
        other = sum(r.state == State.finished and not self._comparable(r) for r in mine)
        said = []
        if self.early_ends:
            said.append(
                f"{len(self.early_ends)} of {len(mine)} trials ended before their last token: they "
                "are learned from by their predicted ends, as far as finished trials that passed "
                "the same rung tell these, and none of them is taken for observed."
            )
        if unknown:
            said.append(
                f"{unknown} of {len(mine)} trials ended before their last token and are left out: "
                "a loss below a trial's tokens is not its final loss."
            )
        if other:
            said.append(
                f"{other} of {len(mine)} trials have another fidelity than the study's one and are "
                "left out."
            )
        return tuple(said)

    def _comparable(self, record: TrialRecord) -> bool:
        return bool(self.config.fidelities) or record.trial.fidelity == self.fidelity

    def events_of(self, kind: str) -> list[Mapping[str, Any]]:
        """The events of one kind, oldest first."""
        return [e for e in self.events if e["kind"] == kind]

    @property
    def decisions(self) -> list[Mapping[str, Any]]:
        """The stored decisions of the stopping rule, oldest first."""
        return self.events_of("decision")

    @property
    def decision(self) -> Mapping[str, Any] | None:
        """The decision made on the trials finished so far; None if there is none yet."""
        made = self.decisions
        return made[-1] if made and made[-1]["trials"] == len(self.learned_from) else None

    @property
    def stop_reason(self) -> str | None:
        """Why the search last stopped; None if it never did."""
        stops = self.events_of("stop")
        return str(stops[-1]["reason"]) if stops else None

    def seed_groups(self, ids: Iterable[str]) -> list[int]:
        """Per trial, the number of its seed: equal where trials share what their seed decides.

        Those are trials of one seed at one fidelity; a run from elsewhere is alone.
        """
        numbers: dict[object, int] = {}
        return [numbers.setdefault(_group(self.by_id[i].trial), len(numbers)) for i in ids]


def _group(trial: Trial) -> object:
    return trial.id if trial.kind == Kind.attached else (trial.seed, trial.fidelity)


def base_key(schedule: Schedule) -> str:
    """The base mixture of a schedule, as text that is equal for equal mixtures."""
    base = schedule.base
    return json.dumps({name: round(w, 9) for name, w in sorted(base.items()) if w > 0})


def by_trial(observations: Iterable[Observation]) -> dict[str, list[Observation]]:
    """Observations grouped by trial."""
    groups: dict[str, list[Observation]] = {}
    for o in observations:
        groups.setdefault(o.trial, []).append(o)
    return groups
