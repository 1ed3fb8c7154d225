"""The driver of a run: it leases trials, hands them to Ray's workers and keeps what they report."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mixopt.errors import MixoptError, StorageError, StudyError
from mixopt.space import Mixture, Observation, Trainer, Trial
from mixopt.study import CommandTrainer, Study
from mixopt.study.cost import Counting, stopped_cost
from mixopt.study.heartbeat import repeated
from mixopt.study.search_end import require_progress
from mixopt.study.state import StudyState
from mixopt.study.storage import this_worker
from mixopt.tune.progress import Progress
from mixopt.tune.run_summary import Clock
from mixopt.tune.time_left import seconds_left
from mixopt.tune.tracking import Tracking

# A lease of a driver that is gone, on a host that cannot see its process, ends after so long.
LEASE_SECONDS = 120.0
# Between looks at trials that another process runs.
POLL_SECONDS = 1.0

# A slot that is idle gets the next proposal when a trial runs so many times the median time ...
LATE = 2.0
# ... of so many trials, and so many seconds at least.
FEWEST_TIMES = 3
LEAST_LATE_SECONDS = 30.0

Trunk = tuple[int, Mixture, str]
# Most trials that one process trains side by side, and what they must have in common.
Pack = tuple[int, Callable[[Trial], object]]
# Begins to propose trials beside those that run; there may come none.
Ahead = Callable[[], "Future[Sequence[Trial]]"]
# Begins to make the next batch; None comes after the last.
Draw = Callable[[], "Future[Sequence[Trial] | None]"]


@dataclass
class Driver:
    """One call's trials: waiting, running and over.

    Attributes:
        study: The study whose trials are run; its leases are this process's.
        trainer: The trainer of all of them; None where a Tuner of the user's own has one.
        resources: Needs of a trial, as Ray counts them.
        out: Folder of the run.
        progress: The display of the trials.
        tracking: Other tools that keep the trials.
        clock: Seconds per part.
        rounds: Whether whole rounds come from ``ahead`` too.
        spans: Start and end of each trial that ended, by ``time.time``.
        slots: Trials at a time.
        error: What ended the run; None while nothing did.
        pack: Trials of one worker, at most, and what they must have in common.
        begun: Called when the first trial has started; None to call nothing.
        ahead: Proposes trials beside those that run, in a thread of its own; None where batches are
            all that is run.
    """

    study: Study
    trainer: Trainer | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    out: Path = Path()
    progress: Progress = field(default_factory=Progress.silent)
    tracking: Tracking = field(default_factory=lambda: Tracking({}, print))
    clock: Clock = field(default_factory=lambda: Clock(time.time()))
    rounds: bool = False
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    slots: int = 1
    error: Exception | None = None
    pack: Pack | None = None
    begun: Callable[[], object] | None = None
    ahead: Ahead | None = None
    _batch: frozenset[str] = frozenset()
    _ready: Trial | None = None
    _waiting: list[Trial] = field(default_factory=list)
    _running: dict[str, tuple[Trial, float]] = field(default_factory=dict)
    _trained: set[Trunk] = field(default_factory=set)
    _told: bool = False
    _draw: Draw | None = None
    _next: Future[Sequence[Trial] | None] | None = None
    _looked: float = float("-inf")
    _asked: Future[Sequence[Trial]] | None = None
    _asked_at: int = 0
    _answered: int = -1

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles whatever it is given for a restore that never happens; a storage cannot be.
        return {}

    @property
    def logs(self) -> Path:
        """Folder of the trials' output."""
        return self.out / "logs"

    @contextmanager
    def leasing(self) -> Iterator[None]:
        """Keep the leases of the running trials as long as the block lasts."""
        done = [r for r in self.study.records() if not r.open]
        self._trained = {trunk_of(r.trial) for r in done}
        try:
            with repeated(self._heartbeat, LEASE_SECONDS / 4):
                yield
        finally:
            for trial in list(self._running):
                with suppress(MixoptError):
                    self.study.release(trial)

    def _heartbeat(self) -> None:
        for trial in list(self._running):
            # A lease that is lost shows when the trial's results are refused.
            with suppress(MixoptError):
                self.study.heartbeat(trial, LEASE_SECONDS)

    # Handing out

    def draw_from(self, draw: Draw) -> None:
        """Hand out one batch after the other; the first is made from now on."""
        self._draw, self._next = draw, draw()

    def next_trial(self) -> Trial | None:
        """A trial to run now, leased; None where there is none, or one had better wait.

        Raises:
            MixoptError: If the study cannot propose beside the trials that run.
        """
        if self._draw is not None and (self._next is not None or self.idle):
            self._turn(self._draw)
        trial, self._ready = self._ready or self._lease(), None
        return trial or self._from_ahead()

    @property
    def waits(self) -> bool:
        """Whether a worker without a trial had better wait for one than end.

        It does while proposals are made, and while the last trials of a round run. Where other
        processes run what is left it does not: they may need its slot.
        """
        made = [future.done() for future in (self._next, self._asked) if future is not None]
        if made or self.over:
            return bool(made) and not any(made)
        return self.ahead is not None and bool(self._running) and not self._waiting

    @property
    def over(self) -> bool:
        """Whether no trial is left, here or to be proposed."""
        return self.error is not None or (self._draw is None and self.idle)

    def _turn(self, draw: Draw) -> None:
        """Go on to the next batch when all trials of this one are over, whoever runs them."""
        if self._next is None:
            if self._left():
                return
            self._next = draw()
        if not self._next.done():
            return
        try:
            batch = self._next.result()
        except Exception as error:
            # Raised here it would reach the user as an error of Tune.
            self.error, batch = error, None
        self._next, self._draw = None, None if batch is None else draw
        self._batch, self._looked = frozenset(t.id for t in batch or ()), float("-inf")
        if batch:
            self._left()

    def _left(self) -> bool:
        """Whether trials of the batch are open; those that are nobody's can be leased here.

        While other processes run all that is left, this one waits.
        """
        if time.monotonic() < self._looked + POLL_SECONDS:
            return True
        self._looked, still = time.monotonic(), self._open()
        self._waiting = trunks_first(still)
        self._ready = self._lease()
        if still and self._ready is None and not self._told:
            self._told = True
            self.progress.say(f"{len(still)} trials are run by other processes: waiting for them")
        return bool(still)

    def companions(self, trial: Trial) -> list[Trial]:
        """Further trials, leased, that the worker of a trial trains side by side with it."""
        if self.pack is None:
            return []
        most, likeness = self.pack
        found: list[Trial] = []
        for other in [t for t in self._waiting if likeness(t) == likeness(trial)]:
            if len(found) < most - 1 and self.take(other):
                found.append(other)
        names = {t.id for t in found}
        self._waiting = [t for t in self._waiting if t.id not in names]
        return found

    @property
    def idle(self) -> bool:
        """Whether no trial runs here, and none is being proposed."""
        return not self._running and not self._wants_more()

    def _wants_more(self) -> bool:
        """Whether a free slot had better get a new trial than wait for those that run."""
        if self.ahead is None or self._answered == len(self.spans):
            return False
        rolling = self.study.settings.batch == "rolling"
        begins = self.rounds and not (self._running and self._batch)
        return self._asked is not None or rolling or begins or self._late()

    def _late(self) -> bool:
        """Whether a trial has run far longer than those of this call did."""
        if len(self.spans) < FEWEST_TIMES or not self._running:
            return False
        typical = statistics.median(end - start for start, end in self.spans.values())
        oldest = time.time() - min(started for _, started in self._running.values())
        return oldest > max(LATE * typical, LEAST_LATE_SECONDS)

    def _from_ahead(self) -> Trial | None:
        """A trial proposed beside the others; where none comes, none is asked for until one ends.

        Raises:
            MixoptError: If the study cannot propose.
        """
        if not self._wants_more() or self.ahead is None:
            return None
        if self._asked is None:
            self._asked, self._asked_at = self.ahead(), len(self.spans)
        if not self._asked.done():
            return None
        found, self._asked = self._asked.result(), None
        if not found:
            self._answered = self._asked_at
        self._batch |= {t.id for t in found}
        self._waiting += found
        return self._lease()

    def _open(self) -> list[Trial]:
        return [r.trial for r in self.study.records() if r.open and r.trial.id in self._batch]

    def _lease(self) -> Trial | None:
        waiting = self._waiting
        # Trials of a pack leave no trunks.
        if isinstance(self.trainer, Counting) and self.pack is None:
            running = [trial for trial, _ in self._running.values()]
            waiting = runnable(waiting, running, self._trained)
        for trial in waiting:
            self._waiting = [t for t in self._waiting if t.id != trial.id]
            if self.study.lease([trial], lease_seconds=LEASE_SECONDS):
                self._running[trial.id] = (trial, time.time())
                return trial
        return None

    def has(self, trial: str) -> bool:
        """Whether a trial runs or waits here."""
        return trial in self._running or any(t.id == trial for t in self._waiting)

    def take(self, trial: Trial) -> bool:
        """Count a trial that Tune has started as running here, if it can be leased."""
        if not self.study.lease([trial], lease_seconds=LEASE_SECONDS):
            return False
        self._running[trial.id] = (trial, time.time())
        return True

    # Keeping

    def started(self, trial: str) -> None:
        """A worker has taken a trial."""
        if trial in self._running:
            known, _ = self._running[trial]
            self._running[trial] = (known, time.time())
            self.progress.started(known)
            self.tracking.started(known)
            begun, self.begun = self.begun, None
            if begun is not None:
                begun()

    def reached(self, trial: str, rows: Sequence[Observation]) -> None:
        """A trial has reached rungs."""
        if trial in self._running and rows:
            self._keep(trial, lambda: self.study.record(trial, rows))
            self.tracking.reached(trial, rows)

    def stopped(self, trial: str, tokens: int) -> None:
        """A trial was ended at a rung."""
        if trial in self._running:
            known, _ = self._running[trial]
            self.ended(trial, "", stopped_cost(known, self.trainer, tokens))

    def ended(self, trial: str, reason: str, cost: Mapping[str, Any] | None) -> None:
        """A trial has ended; the reason is empty unless it failed."""
        if trial in self._running:
            self._keep(trial, lambda: self._end(trial, reason, cost))
            self._over(trial)

    def died(self, trial: str, reason: str) -> None:
        """A trial's worker has died; it waits again, or has failed."""
        if trial in self._running:
            self.progress.died(self._running[trial][0])
            self._keep(trial, lambda: self.study.crashed(trial, reason))
            self._over(trial)

    def _end(self, trial: str, reason: str, cost: Mapping[str, Any] | None) -> None:
        self.study.conclude(trial, reason, cost)
        known, _ = self._running[trial]
        self._trained.add(trunk_of(known))

    def _over(self, trial: str) -> None:
        if trial not in self._running:
            return
        known, started = self._running.pop(trial)
        self._looked = float("-inf")
        self.spans[trial] = (started, time.time())
        state = self.study.state()
        record = state.record_of(trial)
        self.tracking.ended(record)
        if record.open:
            self._waiting.append(known)
            return
        self.progress.ended(record, state.value_of(record), self._seconds_left(state))
        try:
            require_progress(state)
        except StudyError as error:
            self.error = error

    def _seconds_left(self, state: StudyState) -> float | None:
        """At most; None while too few trials have been seen to end."""
        if len(self.spans) < FEWEST_TIMES:
            return None
        trained = sum(end - start for start, end in self.spans.values())
        # Ray is started once, however many trials follow.
        passed = time.time() - self.clock.began - self.clock.parts.get("ray", 0.0)
        idle = max(passed * self.slots - trained, 0.0) / len(self.spans)
        return seconds_left(state, self.slots, idle)

    def _keep(self, trial: str, write: Callable[[], object]) -> None:
        """Write under the trial's lease; whoever has it now gives the trial's results."""
        try:
            try:
                write()
            except StorageError:
                # It was lost in the middle; what was kept before is accepted again.
                write()
        except MixoptError as error:
            lost = self._running.pop(trial)[0]
            self.progress.say(f"{lost.id}: its results are dropped: {error.message}")
            record = self.study.record_of(trial)
            if record.open and record.worker == this_worker():
                self.error = error


def open_driver(
    study: Study,
    trainer: Trainer,
    out: str | Path,
    resources: Mapping[str, float] | None,
    progress: Progress | None,
) -> Driver:
    """The driver of a study's trials; what is over already is shown.

    Raises:
        StudyError: If the study is in memory.
    """
    require_stored(study)
    folder = Path(out).resolve()
    if isinstance(trainer, CommandTrainer) and trainer.logs is None:
        trainer = replace(trainer, logs=folder / "logs")
    shown = progress or Progress.silent()
    state = study.state()
    shown.resumed((r, state.value_of(r)) for r in state.records if not r.open)
    return Driver(study, trainer, dict(resources or {"cpu": 1}), folder, shown)


def require_stored(study: Study) -> Study:
    """The study, whose trials several processes and threads are to see.

    Raises:
        StudyError: If it is in memory.
    """
    if study.store.in_memory:
        raise StudyError(
            f"the study {study.name!r} is in memory, where its trials end with this process",
            'give it a storage: Study(..., storage="study.db")',
        )
    return study


def trunk_of(trial: Trial) -> Trunk:
    """What trials must share for one to branch off the other."""
    return trial.seed, trial.schedule.base, trial.split.value


def trunks_first(trials: Sequence[Trial]) -> list[Trial]:
    """One trial of every trunk before the others, which then branch from its checkpoints.

    It is the one that leaves its trunk first: its checkpoint serves all the others. They follow in
    that order too, as each leaves a later checkpoint behind.
    """
    order = sorted(trials, key=lambda t: t.schedule.phases[0].fraction)
    leaders = {trunk_of(t): t.id for t in reversed(order)}.values()
    return [t for t in trials if t.id in leaders] + [t for t in order if t.id not in leaders]


def runnable(
    trials: Sequence[Trial], running: Collection[Trial], trained: Collection[Trunk]
) -> list[Trial]:
    """The trials that need not wait for a trunk that a running trial trains.

    A trial that starts while another trains its trunk has to train it too.

    Args:
        trials: To be run, in their order.
        running: Trials that run now.
        trained: Trunks that earlier trials left.
    """
    busy = {trunk_of(t) for t in running} - set(trained)
    return [t for t in trials if trunk_of(t) not in busy]
