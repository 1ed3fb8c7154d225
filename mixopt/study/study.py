"""The study: what has been tried, what to try next, and what to recommend."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mixopt.advice import log_warnings
from mixopt.errors import MixoptError, StudyError
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
from mixopt.study.baseline import unreachable_baseline
from mixopt.study.budget import TrialBudget
from mixopt.study.comparisons import open_runs
from mixopt.study.config import (
    DEFAULT_FIDELITY,
    ROUND,
    StudyConfig,
    StudySettings,
    default_initial,
    ordered_fidelities,
    require_given,
    require_same,
)
from mixopt.study.cost import COST
from mixopt.study.results.recording import Told, attachment, end_of, told_rows
from mixopt.study.rounds import LEAST, next_round
from mixopt.study.run_trial import run_trial
from mixopt.study.search_end import no_gain, require_progress, spent_reason, stored_decision
from mixopt.study.state import StudyState
from mixopt.study.storage import Lease, State, Storage, TrialRecord, this_worker
from mixopt.study.trainers import CallableTrainer
from mixopt.study.transfer import Inherited, plan_inheritance
from mixopt.study.view import StudyView

if TYPE_CHECKING:
    from sqlalchemy import URL

    from mixopt.propose import Recommendation

Progress = Callable[[TrialRecord, float | None], None]

#: Of a trial that nobody prolongs; a process of this host that has ended holds none.
LEASE_SECONDS = 24 * 3600.0
#: Between looks at trials that other processes run.
POLL_SECONDS = 0.5
#: After which another process may propose a round, should the one that does hang.
PROPOSING_SECONDS = 1800.0


class Study(StudyView):
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
        budget: Totals at which the search stops; None to stop by expected regret alone.
        initial: Trials of the initial design; None for the number of domains plus two.
        batch: Trials per round after that, or ``rolling`` (see ``propose_beside``).
        confirm_seeds: Fresh seeds per confirmed schedule; 0 for no confirmation runs.
        retries: How often a trial is run again after its worker died.
        patience: Rounds in a row that must say so before the search stops by expected regret.
        replicates: Trials of each round that repeat the leading schedule with a fresh seed, or
            ``auto``: up to half of them, where noise decides between the leaders.
        most_failures: Failed trials in a row after which the search ends with what it has.
        seed_blocks: Seeds that the trials are spread over; those of one seed share initial weights
            and order of data.
        flops_per_token: By parameters, the FLOPs that a token of training takes, where a trainer
            counts them; 6 per parameter for sizes not named.
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
        storage: str | Path | URL | Storage | None = "sqlite:///mixopt.db",
        seed: int = 0,
        budget: TrialBudget | None = None,
        initial: int | None = None,
        batch: int | Literal["rolling"] = ROUND,
        confirm_seeds: int = 3,
        retries: int = 1,
        patience: int = 1,
        replicates: int | Literal["auto"] = 0,
        most_failures: int = 8,
        seed_blocks: int = 3,
        flops_per_token: Mapping[int, float] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        require_given(name, space, objective, fidelities)
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
            most_failures=most_failures,
            seed_blocks=seed_blocks,
            flops_per_token=dict(flops_per_token or {}),
        )
        store = storage if isinstance(storage, Storage) else Storage(storage)
        row = store.study(name)
        if row is not None:
            require_same(name, row.config, config)
        text = settings.model_dump_json()
        number = store.create_study(name, config.text, config.digest, text)
        if row is not None and row.settings != text:
            store.update_settings(number, text)
        self._set_up(number, name, config, settings, store)

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
        held = [r.trial for r in self.records() if r.search and self._holds(r)]
        taken = self._take(who, lease_seconds, n)
        if not taken and not self.state().open_search:
            self.propose(batch or n, worker=who)
            taken = self._take(who, lease_seconds, n)
        return taken if n is not None else [*held, *taken]

    def propose(self, size: int | None = None, *, worker: str | None = None) -> None:
        """Store the next round where no trial of the search is open; ``ask`` takes its trials.

        Nothing is stored where the search is over, or another process proposes just now.

        Args:
            size: Of a round after the first; None for the study's batch.
            worker: Who proposes; None for this process.
        """
        who = worker or this_worker()
        with self.store.propose_lock(self.id, worker=who, seconds=PROPOSING_SECONDS) as mine:
            # Another process may have proposed before the lock was free.
            state = self.state()
            if mine and not state.open_search:
                self._propose(state, size)

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
            if not mine or len(state.learned_from) < LEAST or self._rolled_out(state):
                return []
            return self._propose(state, 1)

    def _rolled_out(self, state: StudyState) -> bool:
        """Whether the search has come to its end, though trials run."""
        if spent_reason(state) is not None:
            return True
        last = state.decisions[-1]["trials"] if state.decisions else 0
        due = len(state.learned_from) - last >= state.settings.round_size
        return due and no_gain(state, self._decide(state)) is not None

    def _holds(self, record: TrialRecord) -> bool:
        """Whether the trial is open and runs under a lease of this object."""
        lease = self._leases.get(record.trial.id)
        return lease is not None and record.open and record.worker == lease.worker

    def _take(
        self, worker: str, seconds: float, n: int | None, trials: Sequence[str] | None = None
    ) -> list[Trial]:
        found = self.store.lease(self.id, worker=worker, seconds=seconds, n=n, trials=trials)
        self._leases.update({record.trial.id: lease for record, lease in found})
        return [record.trial for record, _ in found]

    def lease(
        self, trials: Sequence[Trial], *, lease_seconds: float = LEASE_SECONDS
    ) -> dict[str, Lease]:
        """The leases of those of the trials that this object holds or can take, by id."""
        ids = [t.id for t in trials]
        free = [i for i in ids if i not in self._leases]
        self._take(this_worker(), lease_seconds, None, free)
        return {i: self._leases[i] for i in ids if i in self._leases}

    def heartbeat(self, trial: str, lease_seconds: float = LEASE_SECONDS) -> None:
        """Prolong the lease of a trial that this object holds to so many seconds from now.

        Raises:
            StudyError: If it holds none, or the lease was lost.
        """
        if trial not in self._leases:
            raise StudyError(f"this process holds no lease of trial {trial!r}", "ask for it first")
        self._leases[trial] = self.store.heartbeat(self._leases[trial], lease_seconds)

    def release(self, trial: str) -> bool:
        """Let a trial that this object holds wait again; False if it does not hold it any more."""
        lease = self._leases.pop(trial, None)
        return lease is not None and self.store.give_back(lease)

    def waiting_for(self) -> list[TrialRecord]:
        """The trials of the search that other processes run; a round goes on when they end."""
        return [r for r in self.state().open_search if not self._holds(r)]

    def _propose(self, state: StudyState, n: int | None) -> list[Trial]:
        """Store the next round, and the decision that it still pays where one was made."""
        trials = next_round(state, n, lambda: self.learned(state=state))
        if not trials:
            return []
        if trials[0].kind == Kind.initial:
            log_warnings(self.advice())
            outside = unreachable_baseline(self.space)
            if outside is not None:
                logging.getLogger("mixopt.study").warning(outside)
        self._keep_decision(state)
        self.store.add_trials(self.id, trials)
        return trials

    # Tell

    def tell(
        self,
        trial: str,
        values: Told,
        tokens: int | None = None,
        *,
        lease: Lease | None = None,
    ) -> None:
        """Store a trial's results and end it; telling the same again does nothing.

        Args:
            trial: Its id.
            values: Value per metric, or observations of any number of rungs.
            tokens: Training tokens seen, for a mapping; None for the whole run. A trial whose last
                rung lies below its tokens has ended early: it is kept as that, and not learned
                from.
            lease: Of the trial; None for the one that this object holds.

        Raises:
            StudyError: If the trial is unknown or failed, another process runs it, a value is not
                finite or conflicts with a stored one, or a metric of the objective is missing.
        """
        known = self.record_of(trial).trial
        self._end(known, told_rows(known, values, tokens), lease)

    def record(
        self, trial: str, values: Sequence[Observation], *, lease: Lease | None = None
    ) -> None:
        """Store rungs of a trial that goes on; ``finish`` or ``tell`` ends it.

        Raises:
            StudyError: As for ``tell``.
        """
        rows = told_rows(self.record_of(trial).trial, values, None)
        self.store.record(self.id, trial, rows, lease=lease or self._leases.get(trial))

    def finish(self, trial: str, *, lease: Lease | None = None) -> None:
        """End a trial whose rungs are all recorded.

        Raises:
            StudyError: If a metric of the objective is missing at its last rung.
        """
        self._end(self.record_of(trial).trial, [], lease)

    def _end(self, trial: Trial, rows: list[Observation], lease: Lease | None) -> None:
        stored = self.store.observations(self.id, trial.id)
        end = end_of(self.objective, trial, [*stored, *rows])
        held = lease or self._leases.get(trial.id)
        self.store.record(self.id, trial.id, rows, lease=held, end=end)
        self._leases.pop(trial.id, None)

    def conclude(
        self, trial: str, reason: str, cost: Mapping[str, Any] | None, *, lease: Lease | None = None
    ) -> None:
        """End a trial that was run, all its rungs recorded.

        Args:
            trial: Its id.
            reason: Why it failed; empty where it did not. A trial whose last rung lacks a metric of
                the objective has failed too.
            cost: What it trained, where its trainer counts that.
            lease: Of the trial; None for the one that this object holds.

        Raises:
            StudyError: If the lease was lost.
        """
        try:
            if not reason:
                self.finish(trial, lease=lease)
        except MixoptError as error:
            reason = error.message
        if reason:
            self.fail(trial, reason, lease=lease)
        elif cost is not None:
            self.add_event(COST, cost)

    def fail(self, trial: str, reason: str, *, lease: Lease | None = None) -> None:
        """Store that a trial failed, and why; it is not run again unless requeued.

        Raises:
            StudyError: If the trial is unknown or has results, or another process runs it.
        """
        self.store.fail(self.id, trial, reason, lease=lease or self._leases.get(trial))
        self._leases.pop(trial, None)

    def crashed(self, trial: str, reason: str, *, lease: Lease | None = None) -> None:
        """Store that a trial's worker died: it waits again, or fails after its retries."""
        record = self.record_of(trial)
        if not record.open:
            return
        held = lease or self._leases.pop(trial, None)
        if record.crashes >= self.settings.retries:
            tries = record.crashes + 1
            self.fail(trial, f"its worker died {tries} times; the last time: {reason}", lease=held)
        else:
            self.store.requeue(self.id, trial, crashed=True, lease=held)

    def requeue(self, trials: Sequence[str] | None = None) -> list[str]:
        """Let failed trials run again, with the same weights and seed; returns their ids.

        Args:
            trials: Ids; None for every failed trial.
        """
        failed = [r.trial.id for r in self.records() if r.state == State.failed]
        again = failed if trials is None else [self.record_of(t).trial.id for t in trials]
        for trial in again:
            self.store.requeue(self.id, trial, lease=self._leases.pop(trial, None))
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
            StudyError: If a value is not finite, a metric of the objective is missing, the id is
                taken by another run, or the fidelity is not that of a study of one.
            SpaceError: If the schedule names a domain or phase that the space has not.
        """
        found = attachment(self.config, schedule, metrics, fidelity, trial or "a0000")
        if trial is None:
            return self.store.attach_next(self.id, *found)
        self.store.attach(self.id, [found])
        return trial

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
        self.store.attach(self.id, found)
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

    def add_event(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Append to the study's log."""
        self.store.add_event(self.id, kind, payload)

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
        if made is None or made["trials"] != len(state.learned_from) or stored_decision(state):
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
            trials = self.ask(1, batch=self.settings.round_size)
            for trial in trials:
                self._run_one(runner, trial, progress)
                require_progress(self.state())
            if not trials:
                time.sleep(POLL_SECONDS)
        recommendation = self.recommend()
        if confirm:
            waiting = self.add_trials(self.confirmation_trials(recommendation))
            while waiting:
                # One trial at a time, so that other processes can take the rest.
                if not any(self._run_one(runner, t, progress) for t in waiting):
                    time.sleep(POLL_SECONDS)
                waiting = open_runs(self.state(), waiting)
            recommendation = self.with_confirmations(recommendation)
        return recommendation

    def _run_one(self, trainer: Trainer, trial: Trial, progress: Progress | None) -> bool:
        ran = run_trial(self, trainer, trial)
        if ran and progress is not None:
            state = self.state()
            record = state.record_of(trial.id)
            progress(record, state.value_of(record))
        return ran
