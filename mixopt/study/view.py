"""What a study knows and concludes: everything here reads, and nothing is ever written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mixopt.advice import Advice, advise_space
from mixopt.errors import StudyError
from mixopt.space import Trial
from mixopt.space.display import as_html, plots_of
from mixopt.study.baseline import unreachable_baseline
from mixopt.study.budget import Spent, TrialBudget
from mixopt.study.comparisons import confirmation_runs, confirmed
from mixopt.study.config import Configured, StudyConfig, StudySettings, derived_seed
from mixopt.study.early_ends import why_end
from mixopt.study.results.at_target import at_target
from mixopt.study.results.final_values import build_evidence, fit_evidence
from mixopt.study.results.recording import WHOLE
from mixopt.study.search_end import decide, why_stop
from mixopt.study.state import StudyState, Values
from mixopt.study.storage import Lease, State, Storage, TrialRecord
from mixopt.study.storage.rows import unknown_trial

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import URL, Row

    from mixopt.propose import Evidence, Recommendation
    from mixopt.surrogate import SurrogateModel


class StudyView(Configured):
    """A stored study as it can be asked; ``Study`` adds what changes it.

    Attributes:
        id: Number of the study in its storage.
        name: Name of the study in its storage.
        config: What its results depend on.
        settings: What may change between runs.
        store: Where it is kept.
    """

    def _set_up(
        self, number: int, name: str, config: StudyConfig, settings: StudySettings, store: Storage
    ) -> None:
        self.id = number
        self.name = name
        self.config = config
        self.settings = settings
        self.store = store
        self._leases: dict[str, Lease] = {}
        self._fits: dict[tuple[Any, ...], tuple[Evidence, SurrogateModel]] = {}
        self._decision: Mapping[str, Any] | None = None

    @classmethod
    def open(
        cls, storage: str | Path | URL, name: str | None = None, *, read_only: bool = False
    ) -> Self:
        """A study that is already stored, without knowing its configuration.

        Args:
            storage: URL or path.
            name: Of the study; may be left out where the storage holds one only.
            read_only: Whether nothing may be written, not even a file beside the database.

        Raises:
            StudyError: If there is no such study, or several and no name.
        """
        store = Storage(storage, create=False, read_only=read_only)
        return cls.of_row(store, store.require_study(name))

    @classmethod
    def of_row(cls, store: Storage, row: Row[Any]) -> Self:
        """The study of a row that the storage gave."""
        self = cls.__new__(cls)
        config = StudyConfig.model_validate_json(row.config)
        settings = StudySettings.model_validate_json(row.settings)
        self._set_up(row.id, row.name, config, settings, store)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process gets a connection of its own to the same study.
        if self.store.in_memory:
            raise StudyError(
                f"the study {self.name!r} is in memory and cannot be sent to another process",
                'give it a storage: Study(..., storage="study.db")',
            )
        return type(self).open, (self.store.address, self.name)

    def __repr__(self) -> str:
        states = [r.state for r in self.records()]
        finished = states.count(State.finished)
        return f"Study({self.name!r}, {finished} of {len(states)} trials finished)"

    def _repr_html_(self) -> str:
        return as_html(self)

    @property
    def plot(self) -> Any:
        """The report's figures as plotly figures.

        ``study.plot.history()``, ``.effects()``, ``.tradeoff()``, ``.predicted_observed()`` and
        ``.map(domains=...)``.
        """
        return plots_of(self)

    @property
    def budget(self) -> TrialBudget | None:
        """Totals at which the search stops."""
        return self.settings.budget

    # What is stored

    def state(self) -> StudyState:
        """Everything the study knows, read once; it does not change any more."""
        records, last, events = self.store.snapshot(self.id)
        return StudyState(
            name=self.name,
            config=self.config,
            settings=self.settings,
            records=records,
            last=last,
            events=events,
            rungs=self.store.rungs(self.id) if _any_early(records) else {},
        )

    def records(self) -> list[TrialRecord]:
        """Every trial with its state, in the order in which they were proposed."""
        return self.store.trials(self.id)

    def record_of(self, trial: str) -> TrialRecord:
        """One trial with its state.

        Raises:
            StudyError: If the study has none of that id.
        """
        record = self.store.trial(self.id, trial) if isinstance(trial, str) else None
        if record is None:
            raise unknown_trial(trial)
        return record

    def spent(self) -> Spent:
        """What the search has spent; trials in flight and failed ones count."""
        return self.state().spent

    def final_values(self) -> dict[str, Values]:
        """Per finished trial, each metric after the most tokens."""
        return self.state().finals

    def trials(self) -> pd.DataFrame:
        """One row per trial: state, objective, metrics at the last rung, weights, cost."""
        from mixopt.study.results.frames import trials_frame

        return trials_frame(self.state())

    def observations(self) -> pd.DataFrame:
        """One row per stored number: trial, tokens, metric, value, split."""
        from mixopt.study.results.frames import observations_frame

        return observations_frame(self.store.observations(self.id))

    def advice(self) -> tuple[Advice, ...]:
        """What is known about the space's schedules, warnings first, each with its source.

        The warnings are also logged, to ``mixopt.advice``, when the first round is proposed.
        """
        return advise_space(self.space)

    # What it concludes

    def learned(
        self, extra: bool = False, *, state: StudyState | None = None
    ) -> tuple[Evidence, SurrogateModel]:
        """The evidence so far and the surrogate fitted to it; both at the target, if trials differ.

        Args:
            extra: Whether to model the metrics too that the objective does not use.
            state: To learn from; None for the study as it is now.

        Raises:
            StudyError: If fewer than two trials are finished.
        """
        state = state or self.state()
        evidence = build_evidence(state, extra)
        key = (evidence.ids, evidence.metrics)
        if key not in self._fits:
            # Only the newest is of use; the older ones would pile up over the rounds.
            self._fits = {k: v for k, v in self._fits.items() if k[0] == evidence.ids}
            self._fits[key] = fit_evidence(state, evidence)
        return self._fits[key]

    def should_stop(self) -> bool:
        """Whether the search is over: the budget is spent, or more trials no longer pay.

        Always False while trials of a round are open. Nothing is stored: ``close_search`` keeps
        the reason, and ``ask`` keeps the decision to go on.
        """
        return self._why_stop(self.state()) is not None

    def _why_stop(self, state: StudyState) -> str | None:
        return why_stop(state, lambda: self._decide(state))

    def _decide(self, state: StudyState) -> Mapping[str, Any]:
        """The decision on the trials finished so far: stored, remembered, or made now."""
        found = state.decision or self._decision
        if found is None or found["trials"] != len(state.learned_from):
            found = decide(state, *self.learned(state=state))
        self._decision = found
        return found

    def why_end(self, trial: str, tokens: int, values: Mapping[str, float]) -> str | None:
        """Why a running trial may end at a rung, before its last token; None where it goes on.

        It says nothing of the baseline and of trials that are not the search's, and nothing where
        trials differ in fidelity or learning rate, a mixture of the trial is still to come, or few
        others were measured at the rung.

        Args:
            trial: Its id.
            tokens: Training tokens seen at the rung.
            values: Metrics there.
        """
        state = self.state()
        record = state.record_of(trial)
        run, missing = record.trial, set(self.objective.metrics) - values.keys()
        spared = not record.search or run.schedule == self.space.baseline_schedule
        if missing or spared or tokens >= WHOLE * run.fidelity.tokens:
            return None
        passed = self.store.rungs(self.id, tokens).get(tokens, {})
        curves = state.curves_at(run, tokens, passed)
        if curves is None:
            return None
        return why_end(curves, values, state.best_finished, state.noise)

    @property
    def stop_reason(self) -> str | None:
        """Why the search is over or last stopped; None if it never did."""
        state = self.state()
        return state.stop_reason or self._why_stop(state)

    def recommend(self) -> Recommendation:
        """What to train on, with its uncertainty; the same for the same results and seed.

        Raises:
            StudyError: If fewer than two trials are finished.
        """
        from mixopt.propose import Observed, recommend
        from mixopt.surrogate import ScaleSurrogate

        state = self.state()
        evidence, surrogate = self.learned(extra=True, state=state)
        seed = derived_seed(self.seed, "recommend")
        found = recommend(self.space, self.objective, surrogate, evidence, seed=seed)
        outside = unreachable_baseline(self.space)
        said = (*state.left_out, *([outside] if outside else []), *found.notes)
        found = found.model_copy(update={"notes": said})
        if isinstance(surrogate, ScaleSurrogate):
            runs = [
                Observed(
                    trial=t.id,
                    value=self.objective.value(state.finals[t.id]),
                    schedule=t.schedule,
                    fidelity=t.fidelity,
                )
                for t in state.finished
            ]
            base = self.space.baseline_schedule
            found = at_target(found, surrogate, self.objective, runs, base)
        return self.with_confirmations(found, state=state)

    def confirmation_trials(self, recommendation: Recommendation) -> list[Trial]:
        """The runs that check a recommendation on text the search never saw; nothing is stored.

        The recommendation, the baseline, the uniform mixture and the static mixture of the same
        exposure are each trained with the same fresh seeds and measured on the confirmation split.
        ``add_trials`` stores them and says which are still to be run.
        """
        return confirmation_runs(self.state(), recommendation)

    def with_confirmations(
        self, recommendation: Recommendation, *, state: StudyState | None = None
    ) -> Recommendation:
        """The recommendation with those confirmation runs of it that are finished so far."""
        found = confirmed(state or self.state(), recommendation)
        return recommendation.model_copy(update={"confirmations": tuple(found)})

    def confirmations(self, recommendation: Recommendation) -> pd.DataFrame:
        """One row per confirmed schedule, with its paired difference from the baseline."""
        from mixopt.study.results.frames import confirmations_frame

        return confirmations_frame(self.with_confirmations(recommendation).confirmations)


def _any_early(records: Sequence[TrialRecord]) -> bool:
    return any(r.state == State.ended_early for r in records)
