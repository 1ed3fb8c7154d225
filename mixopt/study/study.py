"""The study: what has been tried, what to try next, and what to recommend."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from mixopt.advice import log_warnings
from mixopt.errors import StudyError
from mixopt.laws import known_laws
from mixopt.space import Fidelity, Kind, Objective, Schedule, SearchSpace, Trainer, Trial
from mixopt.study.baseline import unreachable_baseline
from mixopt.study.comparisons import open_runs
from mixopt.study.config import (
    DEFAULT_FIDELITY,
    SettingsGiven,
    StudyConfig,
    StudySettings,
    default_initial,
    ordered_fidelities,
    require_comparable,
    require_given,
    require_same,
)
from mixopt.study.results.recording import Attachment, attachment
from mixopt.study.rounds import enough_beside, next_round
from mixopt.study.run_trial import run_trial
from mixopt.study.search_end import require_progress, rolled_out
from mixopt.study.state import StudyState
from mixopt.study.storage import State, Storage, TrialRecord, this_worker
from mixopt.study.study_trials import LEASE_SECONDS, StudyTrials
from mixopt.study.trainers import CallableTrainer
from mixopt.study.transfer import Inherited, plan_inheritance

if TYPE_CHECKING:
    from sqlalchemy import URL

    from mixopt.propose import Recommendation

Progress = Callable[[TrialRecord, float | None], None]

#: Between looks at trials that other processes run.
POLL_SECONDS = 0.5
#: After which another process may propose a round, should the one that does hang.
PROPOSING_SECONDS = 1800.0


class Study(StudyTrials):
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
        storage: URL, path to a SQLite file, a storage that is open, or None for a study that is
            not kept.
        seed: Every random draw derives from it.
        initial: Trials of the initial design; None for the number of domains plus two.
        context: Further facts that results depend on (a corpus' fingerprint, trainer settings).
        laws: Mixing laws in the surrogate, as for ``mixopt.fit``; all by default.
        settings: What may change between runs: budget, batch, confirm_seeds, retries and the other
            attributes of ``StudySettings``.

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
        storage: str | Path | URL | Storage | None = "sqlite:///mixopt.db",
        seed: int = 0,
        initial: int | None = None,
        context: Mapping[str, Any] | None = None,
        laws: Sequence[str] | None = None,
        **settings: Unpack[SettingsGiven],
    ) -> None:
        require_given(name, space, objective, fidelities)
        if not isinstance(objective, Objective):
            objective = Objective(weights=dict(objective))
        sizes = ordered_fidelities(fidelities, fidelity)
        require_comparable(objective, sizes)
        config = StudyConfig(
            space=space,
            objective=objective,
            fidelity=sizes[-1] if sizes else fidelity or space.target or DEFAULT_FIDELITY,
            fidelities=sizes if len(sizes) > 1 else (),
            seed=seed,
            initial=default_initial(space) if initial is None else initial,
            context=dict(context or {}),
            laws=None if laws is None else known_laws(laws),
        )
        changeable = StudySettings(**settings)
        store = storage if isinstance(storage, Storage) else Storage(storage)
        row = store.study(name)
        if row is not None:
            require_same(name, row.config, config)
        text = changeable.model_dump_json()
        number = store.create_study(name, config.text, config.digest, text)
        if row is not None and row.settings != text:
            store.update_settings(number, text)
        self._set_up(number, name, config, changeable, store)

    # Ask

    def ask(
        self,
        n: int | None = None,
        *,
        batch: int | None = None,
        worker: str | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> list[Trial]:
        """Trials to run next, leased to this process; no other one gets them meanwhile.

        Trials that nobody runs come first: those that wait, and those whose process has ended or
        whose lease has expired, with the same weights and seed. When no trial of the search is
        open, the next round is proposed and stored.

        Args:
            n: At most so many, and only ones that this object does not hold yet; None for every
                trial of the round that this object holds or can take.
            batch: Size of the round where a new one (after the first) has to be proposed; None for
                n, or the study's batch.
            worker: Who runs them; None for this process.
            lease_seconds: After which a trial that was not told is free again; ``heartbeat``
                prolongs it.

        Returns:
            The trials; none where the budget is spent, or others run all that is open (see
            ``waiting_for``).

        Raises:
            StudyError: If n is below 1.
        """
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
            raise StudyError(
                f"ask needs a whole number of trials, at least one; got n = {n!r}", "leave n out"
            )
        who = worker or this_worker()
        held = self._held()
        taken = self._take(who, lease_seconds, n)
        if not taken and not self.state().open_search:
            self.propose(batch or n, worker=who)
            taken = self._take(who, lease_seconds, n)
        return taken if n is not None else [*held, *taken]

    def propose(self, size: int | None = None, *, worker: str | None = None) -> list[Trial]:
        """Store the next round where no trial of the search is open; ``ask`` takes its trials.

        Nothing is stored where the search is over, or another process proposes just now.

        Args:
            size: Of a round after the first; None for the study's batch.
            worker: Who proposes; None for this process.

        Returns:
            The open trials of the search, whoever proposed them.
        """
        who = worker or this_worker()
        with self.store.propose_lock(self.id, worker=who, seconds=PROPOSING_SECONDS) as mine:
            # Another process may have proposed before the lock was free.
            state = self.state()
            if mine and not state.open_search:
                return self._propose(state, size)
            return [r.trial for r in state.open_search]

    def propose_beside(self, *, worker: str | None = None) -> list[Trial]:
        """Store one more trial while others run, which its proposal takes as pending.

        Whether more trials pay is decided each time that a round's number of them has finished
        since the last decision.

        Args:
            worker: Who proposes; None for this process.

        Returns:
            The trial, leased by nobody; none where too few have finished to learn from, the budget
            is spent, more trials do not pay, or another process proposes just now.
        """
        who = worker or this_worker()
        with self.store.propose_lock(self.id, worker=who, seconds=PROPOSING_SECONDS) as mine:
            state = self.state()
            if not mine or not enough_beside(state):
                return []
            over = rolled_out(state, lambda: self._decide(state))
            return [] if over else self._propose(state, 1)

    def _propose(self, state: StudyState, n: int | None) -> list[Trial]:
        """Store the decision that more trials pay, where one was made, and the next round."""
        self._keep_decision(state)
        trials = next_round(state, n, lambda: self.learned(state=state))
        if not trials:
            return []
        if trials[0].kind == Kind.initial:
            log_warnings(self.advice())
            outside = unreachable_baseline(self.space)
            if outside is not None:
                logging.getLogger("mixopt.advice").warning(outside)
        self.store.add_trials(self.id, trials)
        return trials

    # Add

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
            StudyError: If a value is not finite, a metric of the objective is missing, the id is
                taken by another run, or the fidelity is not that of a study of one.
            SpaceError: If the schedule names a domain or phase that the space has not.
        """
        found = attachment(self.config, schedule, metrics, fidelity, trial or "a0000")
        if trial is None:
            return self.store.attach_next(self.id, *found)
        self.attach_all([found])
        return trial

    def attach_all(self, runs: Sequence[Attachment]) -> int:
        """Add finished runs, all or none; those that are there already are left as they are.

        Args:
            runs: Of ``mixopt.study.results.recording.attachment``.

        Returns:
            How many of them were not there yet.

        Raises:
            StudyError: If an id belongs to another run, or to the same with other results.
        """
        return self.store.attach(self.id, runs)

    def inherit(
        self, old: Study, *, split: Mapping[str, Mapping[str, float]] | None = None
    ) -> Inherited:
        """Attach the finished trials of a study over other domains; see ``mixopt.study.transfer``.

        All of them are stored or none. Doing it again does nothing; trials that the old study
        finished since are added.

        Args:
            old: It is only read.
            split: Per old domain, the shares of the new domains it became.

        Raises:
            StudyError: If the studies are the same, a name of the split is unknown, or no trial can
                be kept.
        """
        shared = self.store is old.store
        shared |= self.store.address == old.store.address and not self.store.in_memory
        if shared and self.name == old.name:
            raise StudyError(
                f"a study cannot inherit from itself; both are {self.name!r}",
                "give the new study another name or storage",
            )
        found, done = plan_inheritance(self.config, old.state(), split=split)
        self.attach_all(found)
        return done

    def add_trials(self, trials: Sequence[Trial], *, retry_failed: bool = False) -> list[Trial]:
        """Store runs that compare schedules; those that the study has already are kept.

        Args:
            trials: Of ``confirmation_trials`` or ``mixopt.study.comparisons.plan_runs``.
            retry_failed: Whether those of them that failed are to be run again.

        Returns:
            Those that are still to be run, in their order.
        """
        known = self.state().by_id
        self.store.add_trials(self.id, [t for t in trials if t.id not in known])
        if retry_failed:
            mine = [known[t.id] for t in trials if t.id in known]
            self.requeue([r.trial.id for r in mine if r.state == State.failed])
        return open_runs(self.state(), trials)

    # Stop

    def close_search(self) -> str | None:
        """Keep why the search is over as an event; returns the reason, None where it goes on."""
        state = self.state()
        reason = self._why_stop(state)
        self._keep_decision(state)
        if reason is not None and reason != state.stop_reason:
            self.add_event("stop", {"reason": reason})
        return reason

    def _keep_decision(self, state: StudyState) -> None:
        made = self._decision
        if made is None or made["trials"] != len(state.learned_from) or state.decision:
            return
        self.add_event("decision", made)

    # In one process

    def optimize(
        self,
        trainer: Trainer | Callable[..., Any],
        *,
        confirm: bool = False,
        progress: Progress | None = None,
    ) -> Recommendation:
        """Run rounds in this process, one trial after the other, until the study stops.

        Args:
            trainer: A trainer, or a function for ``CallableTrainer``.
            confirm: Whether to run the confirmation trials too.
            progress: Called after each trial with its record and objective.

        Raises:
            StudyError: If trials fail before any has finished.
        """
        runner: Trainer = trainer if hasattr(trainer, "run") else CallableTrainer(trainer)
        require_progress(self.state())
        while self.close_search() is None:
            # What this object was asked for and never told comes first: nobody else runs it.
            trials = self._held() or self.ask(1, batch=self.settings.round_size)
            self._run_or_wait(runner, trials, progress)
            require_progress(self.state())
        recommendation = self.recommend()
        if confirm:
            waiting = self.add_trials(self.confirmation_trials(recommendation))
            while waiting:
                self._run_or_wait(runner, waiting, progress)
                waiting = open_runs(self.state(), waiting)
            recommendation = self.with_confirmations(recommendation)
        return recommendation

    def _run_or_wait(
        self, trainer: Trainer, trials: Sequence[Trial], progress: Progress | None
    ) -> None:
        """Run those of the trials that other processes leave; a pause where they leave none."""
        # Each is leased when its turn comes, so that other processes can take the rest.
        ran = [t for t in trials if self._run_one(trainer, t, progress)]
        if not ran:
            time.sleep(POLL_SECONDS)

    def _run_one(self, trainer: Trainer, trial: Trial, progress: Progress | None) -> bool:
        ran = run_trial(self, trainer, trial)
        if ran and progress is not None:
            state = self.state()
            record = state.record_of(trial.id)
            progress(record, state.value_of(record))
        return ran
