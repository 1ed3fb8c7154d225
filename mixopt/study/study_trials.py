"""The trials of a study as they are run: leased, told, and ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixopt.errors import MixoptError, StudyError
from mixopt.space import Observation, Trial
from mixopt.study.cost import COST
from mixopt.study.results.recording import Told, end_of, told_rows
from mixopt.study.storage import Lease, State, TrialRecord, this_worker
from mixopt.study.storage.rows import unknown_trial
from mixopt.study.view import StudyView

#: Of a trial that nobody prolongs; a process of this host that has ended holds none.
LEASE_SECONDS = 24 * 3600.0


class StudyTrials(StudyView):
    """A stored study whose trials can be run; ``Study`` adds what proposes them."""

    # Lease

    def _holds(self, record: TrialRecord) -> bool:
        """Whether the trial is open and runs under a lease of this object."""
        lease = self._leases.get(record.trial.id)
        return lease is not None and record.open and record.worker == lease.worker

    def _held(self) -> list[Trial]:
        """The trials of the search that this object holds, in order."""
        return [r.trial for r in self.records() if r.search and self._holds(r)]

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

    # Tell

    def tell(
        self,
        trial: str,
        values: Told,
        tokens: int | None = None,
        *,
        lease: Lease | None = None,
    ) -> State:
        """Store a trial's results and end it; telling the same again does nothing.

        Args:
            trial: Its id.
            values: Value per metric, or observations of any number of rungs.
            tokens: Training tokens seen, for a mapping; None for the whole run. A trial whose last
                rung lies below its tokens has ended early: it is kept as that, and not learned
                from.
            lease: Of the trial; None for the one that this object holds.

        Returns:
            How it ended.

        Raises:
            StudyError: If the trial is unknown or failed, another process runs it, a value is not
                finite or conflicts with a stored one, or a metric of the objective is missing.
        """

        def telling(known: Trial, stored: Sequence[Observation]) -> tuple[list[Observation], State]:
            rows = told_rows(known, values, tokens)
            return rows, end_of(self.objective, known, [*stored, *rows])

        end = self.store.tell(self.id, trial, telling, lease=self._lease_of(trial, lease))
        self._leases.pop(trial, None)
        return end

    def record(
        self, trial: str, values: Sequence[Observation], *, lease: Lease | None = None
    ) -> None:
        """Store rungs of a trial that goes on; ``finish`` or ``tell`` ends it.

        Raises:
            StudyError: As for ``tell``.
        """
        held = self._lease_of(trial, lease)
        self.store.tell(
            self.id, trial, lambda known, _: (told_rows(known, values, None), None), lease=held
        )

    def finish(self, trial: str, *, lease: Lease | None = None) -> None:
        """End a trial whose rungs are all recorded.

        Raises:
            StudyError: If a metric of the objective is missing at its last rung.
        """
        self.tell(trial, [], lease=lease)

    def _lease_of(self, trial: str, lease: Lease | None) -> Lease | None:
        if not isinstance(trial, str):
            raise unknown_trial(trial)
        return lease or self._leases.get(trial)

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
        self.store.fail(self.id, trial, reason, lease=self._lease_of(trial, lease))
        self._leases.pop(trial, None)

    def crashed(self, trial: str, reason: str) -> None:
        """Store that a trial's worker died: it waits again, or fails after its retries."""
        record = self.record_of(trial)
        if not record.open:
            return
        held = self._leases.pop(trial, None)
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

    def add_event(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Append to the study's log."""
        self.store.add_event(self.id, kind, payload)
