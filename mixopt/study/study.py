"""The study: what has been tried, what to try next, and what to recommend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from mixopt.advice import Advice, advise_space, log_warnings
from mixopt.errors import StudyError
from mixopt.space import (
    Fidelity,
    Kind,
    Objective,
    Observation,
    Schedule,
    SearchSpace,
    Trainer,
    Trial,
)
from mixopt.study.budget import Spent, TrialBudget
from mixopt.study.config import (
    DEFAULT_FIDELITY,
    StudyConfig,
    StudySettings,
    default_initial,
    derived_seed,
    require_same,
)
from mixopt.study.confirm import confirmation_trials, confirmed, search_rounds
from mixopt.study.fidelity_placement import at_target, fit_evidence, ordered_fidelities
from mixopt.study.results.final_values import build_evidence, final_values
from mixopt.study.results.recording import attach_run, require_last_metrics, told_rows
from mixopt.study.rounds import next_round, no_gain
from mixopt.study.storage import Lease, State, Storage, TrialRecord
from mixopt.study.storage.rows import unknown_trial
from mixopt.study.transfer import Inherited, inherit

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import URL

    from mixopt.propose import Evidence, Recommendation
    from mixopt.surrogate import ScaleSurrogate, Surrogate


class Study:
    """Ask for trials, tell their results, and get a recommendation.

    Everything is kept in the storage after each call: the same constructor call in another process
    goes on where this one ended. Rounds are synchronous: a round is proposed at once, from stored
    results and the seed alone, when the one before it is complete.

    Args:
        name: Of the study in its storage.
        space: What can be chosen.
        objective: What is minimised.
        fidelity: Of the trials; None for the space's target, or 1M parameters on 1B tokens.
        fidelities: Several, for trials that differ; the highest serves confirmation runs.
        storage: URL, path to a SQLite file, or None for a study that is not kept.
        seed: Every random draw derives from it.
        budget: Totals at which the search stops; None to stop by expected improvement alone.
        initial: Trials of the initial design; None for the number of domains
            plus two.
        batch: Trials per round after that.
        confirm_seeds: Fresh seeds per confirmed schedule; 0 for no confirmation runs.
        retries: How often a trial is run again after its worker died.
        patience: Rounds in a row that must say so before the search stops by expected improvement.
        replicates: Trials of each round that repeat the leading schedule with a fresh seed, or
            ``auto``: up to half of them, where noise decides between the leaders.
        context: Further facts that results depend on (a corpus' fingerprint, trainer settings).

    Raises:
        StudyError: If the storage cannot be used, or holds the study with another configuration.
    """

    def __init__(
        self,
        name: str,
        space: SearchSpace,
        objective: Objective | Mapping[str, float],
        *,
        fidelity: Fidelity | None = None,
        fidelities: Sequence[Fidelity] = (),
        storage: str | Path | URL | None = "sqlite:///mixopt.db",
        seed: int = 0,
        budget: TrialBudget | None = None,
        initial: int | None = None,
        batch: int = 8,
        confirm_seeds: int = 3,
        retries: int = 1,
        patience: int = 1,
        replicates: int | Literal["auto"] = 0,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(objective, Objective):
            objective = Objective(weights=dict(objective))
        sizes = ordered_fidelities(fidelities, fidelity)
        config = StudyConfig(
            space=space,
            objective=objective,
            fidelity=sizes[-1] if sizes else fidelity or space.target or DEFAULT_FIDELITY,
            fidelities=sizes if len(sizes) > 1 else (),
            seed=seed,
            initial=default_initial(space) if initial is None else initial,
            context=dict(context or {}),
        )
        settings = StudySettings(
            budget=budget,
            batch=batch,
            confirm_seeds=confirm_seeds,
            retries=retries,
            patience=patience,
            replicates=replicates,
        )
        self._set_up(name, config, settings, Storage(storage))

    def _set_up(
        self, name: str, config: StudyConfig, settings: StudySettings, store: Storage
    ) -> None:
        self.name = name
        self.config = config
        self.settings = settings
        self.store = store
        text = settings.model_dump_json()
        self.id = store.create_study(name, config.text, config.digest, text)
        row = store.study(name)
        assert row is not None, "a study that was just created must be there"
        require_same(name, row.config, config)
        if row.settings != text:
            store.update_settings(self.id, text)
        self._handed: set[str] = set()
        self._fits: dict[tuple[Any, ...], tuple[Evidence, Surrogate | ScaleSurrogate]] = {}

    @classmethod
    def open(cls, storage: str | Path | URL, name: str | None = None) -> Self:
        """A study that is already stored, without knowing its configuration.

        Args:
            storage: URL or path.
            name: Of the study; may be left out where the storage holds one only.

        Raises:
            StudyError: If there is no such study, or several and no name.
        """
        store = Storage(storage)
        row = store.require_study(name)
        self = cls.__new__(cls)
        config = StudyConfig.model_validate_json(row.config)
        settings = StudySettings.model_validate_json(row.settings)
        self._set_up(row.name, config, settings, store)
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

    @property
    def space(self) -> SearchSpace:
        """What can be chosen."""
        return self.config.space

    @property
    def objective(self) -> Objective:
        """What is minimised."""
        return self.config.objective

    @property
    def fidelity(self) -> Fidelity:
        """Of the trials."""
        return self.config.fidelity

    @property
    def seed(self) -> int:
        """The seed that every random draw derives from."""
        return self.config.seed

    @property
    def budget(self) -> TrialBudget | None:
        """Totals at which the search stops."""
        return self.settings.budget

    # What is stored

    def records(self) -> list[TrialRecord]:
        """Every trial with its state, in the order in which they were proposed."""
        return self.store.trials(self.id)

    def spent(self) -> Spent:
        """What the search has spent; trials in flight and failed ones count."""
        return Spent.of([r.trial for r in self.records() if r.search])

    def final_values(self) -> dict[str, dict[str, float]]:
        """Per finished trial, each metric after the most tokens."""
        return final_values(self.records(), self.store.observations(self.id))

    def trials(self) -> pd.DataFrame:
        """One row per trial: state, objective, metrics at the last rung, weights, cost."""
        from mixopt.study.results.frames import trials_frame

        return trials_frame(self.objective, self.records(), self.final_values())

    def observations(self) -> pd.DataFrame:
        """One row per stored number: trial, tokens, metric, value, split."""
        from mixopt.study.results.frames import observations_frame

        return observations_frame(self.store.observations(self.id))

    def advice(self) -> tuple[Advice, ...]:
        """What is known about the space's schedules, warnings first, each with its source.

        The warnings are also logged, to ``mixopt.advice``, when the first round is proposed.
        """
        return advise_space(self.space)

    # Ask

    def ask(self, n: int | None = None) -> list[Trial]:
        """Trials to run next.

        Trials that were asked for and never told come first, also after a restart; when there are
        none, the next round is proposed and stored.

        Args:
            n: At most so many, and only ones that this object has not handed out yet; it is also
                the size of the round where a new one (after the first) has to be proposed. None
                for every open trial of the round.

        Returns:
            The trials; none where the budget is spent, or where all are in flight.

        Raises:
            StudyError: If no trial of the rounds so far came to an end that can be learned from.
        """
        if n is not None and n < 1:
            raise StudyError(f"ask needs at least one trial; got n = {n}", "leave n out")
        records = self._open_trials()
        if not records:
            proposed = next_round(self, n)
            if any(t.kind == Kind.initial for t in proposed):
                log_warnings(self.advice())
            self.store.add_trials(self.id, proposed)
            records = self._open_trials()
        trials = [r.trial for r in records]
        if n is not None:
            trials = [t for t in trials if t.id not in self._handed][:n]
        self._handed.update(t.id for t in trials)
        return trials

    def _open_trials(self) -> list[TrialRecord]:
        return [r for r in self.records() if r.open and r.search]

    def learned(self, extra: bool = False) -> tuple[Evidence, Surrogate | ScaleSurrogate]:
        """The evidence so far and the surrogate fitted to it; both at the target, if trials differ.

        Args:
            extra: Whether to model the metrics too that the objective does not use.

        Raises:
            StudyError: If fewer than two trials are finished.
        """
        evidence = build_evidence(
            self.space, self.objective, self.records(), self.final_values(), extra
        )
        key = (evidence.ids, evidence.metrics)
        if key not in self._fits:
            # Only the newest is of use; the older ones would pile up over the rounds.
            self._fits = {k: v for k, v in self._fits.items() if k[0] == evidence.ids}
            self._fits[key] = fit_evidence(self, evidence)
        return self._fits[key]

    # Tell

    def tell(
        self,
        trial: str,
        values: Mapping[str, float] | Sequence[Observation],
        tokens: int | None = None,
    ) -> None:
        """Store a trial's results and mark it finished; telling the same again does nothing.

        Args:
            trial: Its id.
            values: Value per metric, or observations of any number of rungs.
            tokens: Training tokens seen, for a mapping; None for the whole run.

        Raises:
            StudyError: If the trial is unknown or failed, a value is not finite, conflicts with a
                stored one, or a metric of the objective is missing.
        """
        rows = told_rows(self, trial, values, tokens)
        require_last_metrics(self, trial, rows)
        self.store.record(self.id, trial, rows, lease=None, end=State.finished)

    def record(
        self, trial: str, values: Sequence[Observation], *, lease: Lease | None = None
    ) -> None:
        """Store rungs of a trial that goes on; ``finish`` or ``tell`` ends it.

        Raises:
            StudyError: As for ``tell``, and if another process runs the trial.
        """
        self.store.record(self.id, trial, told_rows(self, trial, values, None), lease=lease)

    def finish(self, trial: str, *, lease: Lease | None = None) -> None:
        """Mark a trial finished whose rungs are all recorded.

        Raises:
            StudyError: If a metric of the objective is missing at its last rung.
        """
        require_last_metrics(self, trial, [])
        self.store.record(self.id, trial, [], lease=lease, end=State.finished)

    def fail(self, trial: str, reason: str, *, lease: Lease | None = None) -> None:
        """Store that a trial failed, and why; it is not run again unless requeued.

        Raises:
            StudyError: If the trial is unknown or finished.
        """
        self.store.fail(self.id, trial, reason, lease=lease)

    def crashed(self, trial: str, reason: str, *, lease: Lease | None = None) -> None:
        """Store that a trial's worker died: it waits again, or fails after its retries."""
        record = self.record_of(trial)
        if not record.open:
            return
        if record.crashes >= self.settings.retries:
            tries = record.crashes + 1
            self.fail(trial, f"its worker died {tries} times; the last time: {reason}", lease=lease)
        else:
            self.store.requeue(self.id, trial, crashed=True, lease=lease)

    def requeue(self, trials: Sequence[str] | None = None) -> list[str]:
        """Let failed trials run again, with the same weights and seed; returns their ids.

        Args:
            trials: Ids; None for every failed trial.
        """
        failed = [r.trial.id for r in self.records() if r.state == State.failed]
        again = failed if trials is None else [self.record_of(t).trial.id for t in trials]
        for trial in again:
            self.store.requeue(self.id, trial)
        self._handed -= set(again)
        return again

    def attach(
        self,
        schedule: Schedule | Mapping[str, float],
        metrics: Mapping[str, float],
        *,
        fidelity: Fidelity | None = None,
        trial: str | None = None,
    ) -> str:
        """Add a finished run from elsewhere; returns its id.

        Args:
            schedule: What it was trained on; weights stand for a single phase.
            metrics: Value per metric at its end.
            fidelity: Of the run; None for the study's.
            trial: Its id, so that attaching it again does nothing; None for the next free one.

        Raises:
            StudyError: If a value is not finite or a metric of the objective is missing.
            SpaceError: If the schedule names a domain or phase that the space has not.
        """
        return attach_run(self, schedule, metrics, fidelity, trial)

    def inherit(
        self, old: Study, *, split: Mapping[str, Mapping[str, float]] | None = None
    ) -> Inherited:
        """Attach the finished trials of a study over other domains; see ``mixopt.study.transfer``.

        Args:
            old: The study whose domains were added to, removed or split.
            split: Per old domain, the shares of the new domains it became.

        Raises:
            StudyError: If no trial can be told in this study's space, or lacks a metric.
        """
        return inherit(self, old, split=split)

    def record_of(self, trial: str) -> TrialRecord:
        """One trial with its state.

        Raises:
            StudyError: If the study has none of that id.
        """
        record = self.store.trial(self.id, trial)
        if record is None:
            raise unknown_trial(trial)
        return record

    # Stop and recommend

    def should_stop(self) -> bool:
        """Whether the search is over: the budget is spent, or more trials no longer pay.

        The reason is kept as an event, and shown by ``stop_reason``. Always False while trials of
        a round are open.
        """
        records = self.records()
        if any(r.open and r.search for r in records):
            return False
        reason = None
        if self.budget is not None:
            reason = self.budget.exhausted(self.spent(), self.config.cheapest)
        if reason is None:
            reason = no_gain(self)
        if reason is not None and reason != self.stop_reason:
            self.store.add_event(self.id, "stop", {"reason": reason})
        return reason is not None

    @property
    def stop_reason(self) -> str | None:
        """Why the search last stopped; None if it never did."""
        stops = self.store.events(self.id, "stop")
        return str(stops[-1]["reason"]) if stops else None

    def recommend(self) -> Recommendation:
        """What to train on, with its uncertainty; the same for the same results and seed.

        Raises:
            StudyError: If fewer than two trials are finished.
        """
        from mixopt.propose import recommend

        evidence, surrogate = self.learned(extra=True)
        seed = derived_seed(self.seed, "recommend")
        found = recommend(self.space, self.objective, surrogate, evidence, seed=seed)
        return self.with_confirmations(at_target(self, found, surrogate))

    # Confirm

    def confirmation_trials(self, recommendation: Recommendation) -> list[Trial]:
        """The open runs that check a recommendation on text the search never saw.

        The recommendation, the baseline, the uniform mixture and the static mixture of the same
        exposure are each trained with the same fresh seeds and measured on the confirmation split.
        They are stored on the first call; schedules that are equal are run once.
        """
        rounds = search_rounds(self)
        wanted = confirmation_trials(
            recommendation,
            self.space,
            self.fidelity,
            prefix=f"c{rounds:02d}",
            number=rounds,
            seeds=[
                derived_seed(self.seed, "confirmation", str(k))
                for k in range(self.settings.confirm_seeds)
            ],
        )
        self.store.add_trials(self.id, wanted)
        ids = {t.id for t in wanted}
        return [r.trial for r in self.records() if r.trial.id in ids and r.open]

    def with_confirmations(self, recommendation: Recommendation) -> Recommendation:
        """The recommendation with the confirmation runs that are finished so far."""
        return recommendation.model_copy(update={"confirmations": tuple(confirmed(self))})

    def confirmations(self) -> pd.DataFrame:
        """One row per confirmed schedule, with its paired difference from the baseline."""
        from mixopt.study.results.frames import confirmations_frame

        return confirmations_frame(confirmed(self))

    # In one process

    def optimize(
        self,
        trainer: Trainer | Callable[..., Any],
        *,
        confirm: bool = False,
        progress: Callable[[TrialRecord, float | None], None] | None = None,
    ) -> Recommendation:
        """Run rounds in this process, one trial after the other, until the study stops.

        Args:
            trainer: A trainer, or a function for ``CallableTrainer``.
            confirm: Whether to run the confirmation trials too.
            progress: Called after each trial with its record and objective.

        Raises:
            StudyError: If the study never stops learning from failures alone.
        """
        from mixopt.study.optimize import optimize

        return optimize(self, trainer, confirm=confirm, progress=progress)
