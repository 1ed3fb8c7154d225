"""Rounds of trials on Ray Tune, until the study stops and its recommendation is confirmed."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixopt.errors import StudyError
from mixopt.space import Mixture, Trainer, Trial
from mixopt.study import Study, TrialRecord
from mixopt.study.cost import Counting, TrainedTokens, trained_tokens
from mixopt.study.search_end import require_progress
from mixopt.study.storage import Lease
from mixopt.tune.progress import Progress
from mixopt.tune.session import count_slots, ray_session

if TYPE_CHECKING:
    from mixopt.propose import Recommendation

# Between looks at trials that another process runs.
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class RunSummary:
    """What a run did and where its wall time went.

    Attributes:
        recommendation: With the confirmation runs.
        stop_reason: Why the search stopped.
        trials: Run to their end by this call, confirmation runs included.
        failed: Those of them that failed.
        slots: Trials at a time.
        wall_seconds: From call to return.
        trial_seconds: Summed over trials.
        outside_seconds: Wall time in which no trial was running.
        parts: Wall seconds per part: ``ray`` (start and stop), ``rounds`` (Tune, trials included),
            ``proposals`` (designs, fits, stopping rule and recommendation).
        cost: Tokens and FLOPs really trained against those without shared trunks; of no runs
            where the trainer does not count.
    """

    recommendation: Recommendation
    stop_reason: str | None
    trials: int
    failed: int
    slots: int
    wall_seconds: float
    trial_seconds: float
    outside_seconds: float
    parts: Mapping[str, float]
    cost: TrainedTokens

    @property
    def outside_share(self) -> float:
        """Share of the wall time in which no trial was running."""
        return self.outside_seconds / self.wall_seconds

    @property
    def idle_share(self) -> float:
        """Share of the slots' time not spent in trials; counts half-empty ends of rounds too."""
        return 1 - self.trial_seconds / (self.slots * self.wall_seconds)

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.parts.items())
        return (
            f"{self.trials} trials ({self.failed} failed) on {self.slots} slots in "
            f"{self.wall_seconds:.1f} s; {self.outside_share:.1%} outside trials, "
            f"{self.idle_share:.1%} of the slots idle ({parts})"
            + (f"; {self.cost}" if self.cost.runs else "")
        )


@dataclass
class _Clock:
    """Wall seconds per part."""

    began: float = field(default_factory=time.time)
    parts: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.parts[name] = self.parts.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class _Run:
    """What stays the same over the rounds of one call."""

    study: Study
    trainer: Trainer
    resources: Mapping[str, float]
    out: Path
    progress: Progress
    clock: _Clock


def run_rounds(
    study: Study,
    trainer: Trainer,
    *,
    out: str | Path,
    resources_per_trial: Mapping[str, float] | None = None,
    confirm: bool = True,
    progress: Progress | None = None,
    address: str | None = None,
) -> RunSummary:
    """Run a study to its recommendation; the same call again goes on where it was killed.

    Args:
        study: Its storage must be a file or a server that every worker reaches.
        trainer: Picklable; runs the trials.
        out: Folder for Ray's own files, below ``ray``; on a cluster it must be shared.
        resources_per_trial: As Ray counts them; None for one CPU.
        confirm: Whether to run the confirmation trials.
        progress: Shows trials as they start and end; None to show nothing.
        address: Of a Ray cluster; None for a local one.

    Raises:
        StudyError: If the study is in memory, its trials all fail, or a trial does not fit on the
            cluster.
    """
    run = _run(study, trainer, out, resources_per_trial, progress)
    with run.progress, ThreadPoolExecutor(1) as beside:
        done = _finished(run, confirm)
        if done is not None:
            return _summary(run, done, slots=1)
        # Ray waits for its own processes; the first round is proposed meanwhile.
        first = beside.submit(_next, run)
        with _session(run, address):
            slots = count_slots(run.resources)
            _search(run, first)
            recommendation = _recommend(run, confirm)
    return _summary(run, recommendation, slots)


def _finished(run: _Run, confirm: bool) -> Recommendation | None:
    """The answer where nothing is left to run: Ray need not start to give it again."""
    study = run.study
    if study.state().stop_reason is None or not study.should_stop():
        return None
    with run.clock.part("proposals"):
        recommendation = study.recommend()
    if confirm and study.add_trials(study.confirmation_trials(recommendation)):
        return None
    return study.with_confirmations(recommendation)


def run_trials(
    study: Study,
    trainer: Trainer,
    trials: Sequence[Trial],
    *,
    out: str | Path,
    resources_per_trial: Mapping[str, float] | None = None,
    progress: Progress | None = None,
    address: str | None = None,
) -> None:
    """Run trials that a study has stored, each to its end or its failure; none of them is fine.

    The arguments are those of ``run_rounds``.

    Raises:
        StudyError: If the study is in memory, or a trial does not fit on the cluster.
    """
    if not trials:
        return
    run = _run(study, trainer, out, resources_per_trial, progress)
    with run.progress, _session(run, address):
        count_slots(run.resources)
        _run_trials(run, trials)


def _run(
    study: Study,
    trainer: Trainer,
    out: str | Path,
    resources: Mapping[str, float] | None,
    progress: Progress | None,
) -> _Run:
    if study.store.in_memory:
        raise StudyError(
            f"the study {study.name!r} is in memory, where Ray's workers cannot reach it",
            'give it a storage: Study(..., storage="study.db")',
        )
    per_trial = dict(resources or {"cpu": 1})
    shown = progress or Progress.silent()
    return _Run(study, trainer, per_trial, Path(out).resolve(), shown, _Clock())


@contextmanager
def _session(run: _Run, address: str | None) -> Iterator[None]:
    session = ray_session(address)
    with run.clock.part("ray"):
        session.__enter__()
    try:
        yield
    finally:
        with run.clock.part("ray"):
            session.__exit__(None, None, None)


def _search(run: _Run, first: Future[list[Trial]]) -> None:
    with run.clock.part("proposals"):
        trials = first.result()
    while trials:
        _run_trials(run, trials)
        with run.clock.part("proposals"):
            trials = _next(run)


def _next(run: _Run) -> list[Trial]:
    """The open trials of the round, or of the next; none where the search is over."""
    study = run.study
    while True:
        require_progress(study.state())
        if study.close_search() is not None:
            return []
        trials = study.ask()
        if trials:
            return trials
        # Another process runs what is left of the round, or proposes the next one.
        time.sleep(POLL_SECONDS)


def _recommend(run: _Run, confirm: bool) -> Recommendation:
    with run.clock.part("proposals"):
        recommendation = run.study.recommend()
    if not confirm:
        return recommendation
    trials = run.study.add_trials(run.study.confirmation_trials(recommendation))
    if trials:
        _run_trials(run, trials)
    return run.study.with_confirmations(recommendation)


def _run_trials(run: _Run, trials: Sequence[Trial]) -> None:
    """Run trials until each is finished or failed; a worker that died is replaced."""
    ids = {t.id for t in trials}
    waiting = list(trials)
    while waiting:
        leases = run.study.lease(_ready(run, waiting))
        if leases:
            ready = [t for t in waiting if t.id in leases]
            with run.clock.part("rounds"):
                reasons = _tune(run, ready, leases)
            for trial in (r.trial.id for r in _open(run.study, set(leases))):
                reason = reasons.get(trial, "no reason given")
                run.study.crashed(trial, reason, lease=leases[trial])
        else:
            # Another process runs what is left.
            time.sleep(POLL_SECONDS)
        waiting = [r.trial for r in _open(run.study, ids)]


def _ready(run: _Run, trials: Sequence[Trial]) -> list[Trial]:
    """Trials to run now, by a trainer that shares trunks; all by another."""
    if not isinstance(run.trainer, Counting):
        return list(trials)
    done = [r.trial for r in run.study.records() if not r.open]
    trained = {trunk_of(t) for t in done}
    return runnable_first(trials, trained, count_slots(run.resources))


def _open(study: Study, ids: set[str]) -> list[TrialRecord]:
    return [r for r in study.records() if r.open and r.trial.id in ids]


def _tune(run: _Run, trials: Sequence[Trial], leases: Mapping[str, Lease]) -> dict[str, str]:
    """One Tuner over the trials; returns why workers died, per trial."""
    from ray import tune

    from mixopt.tune.callback import ProgressCallback
    from mixopt.tune.trainable import TRIAL, TrialWorker, Work

    work = Work.of(run.study, leases, run.trainer)
    trainable = tune.with_parameters(TrialWorker, work=work)
    tuner = tune.Tuner(
        tune.with_resources(trainable, dict(run.resources)),
        param_space={TRIAL: tune.grid_search([t.id for t in trunks_first(trials)])},
        tune_config=tune.TuneConfig(
            reuse_actors=True, trial_name_creator=_trial_name, trial_dirname_creator=_trial_name
        ),
        run_config=tune.RunConfig(
            name=f"{trials[0].id}-{leases[trials[0].id].token[:8]}",
            storage_path=str(run.out / "ray"),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[ProgressCallback(run.study, run.progress)],
        ),
    )
    results = tuner.fit()
    return {r.config[TRIAL]: _reason(r.error) for r in _each(results) if r.error and r.config}


def _each(results: Any) -> list[Any]:
    return [results[index] for index in range(len(results))]


def _trial_name(trial: Any) -> str:
    """The study's own id: Tune's default name embeds every parameter."""
    return str(trial.config["trial"])


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Ray puts the cause last in a traceback, and first in a death notice.
    line = lines[-1] if lines and lines[0].startswith("\x1b[36m") else (lines or ["no message"])[0]
    return f"{type(error).__name__}: {line}"


Trunk = tuple[int, Mixture, str]


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


def runnable_first(trials: Sequence[Trial], trained: Collection[Trunk], slots: int) -> list[Trial]:
    """The trials to run now, where others had better wait for a trunk.

    A trial that starts while another trains its trunk has to train it too. So where the trials
    that need not wait leave slots idle anyway, they run alone.

    Args:
        trials: To be run.
        trained: Trunks that earlier trials left.
        slots: Trials at a time.

    Returns:
        Those that need not wait; all where they fill the slots.
    """
    known, ready = set(trained), []
    for trial in trunks_first(trials):
        if trunk_of(trial) in trained or trunk_of(trial) not in known:
            ready.append(trial)
        known.add(trunk_of(trial))
    return ready if len(ready) < min(slots, len(trials)) else list(trials)


def _summary(run: _Run, recommendation: Recommendation, slots: int) -> RunSummary:
    ended = time.time()
    spans = [
        (r.started, r.ended, r.reason)
        for r in run.study.records()
        if r.started is not None and r.ended is not None and r.started >= run.clock.began
    ]
    wall = ended - run.clock.began
    return RunSummary(
        recommendation=recommendation,
        stop_reason=run.study.stop_reason,
        trials=len(spans),
        failed=sum(bool(reason) for _, _, reason in spans),
        slots=slots,
        wall_seconds=wall,
        trial_seconds=sum(end - start for start, end, _ in spans),
        outside_seconds=wall - covered([(start, end) for start, end, _ in spans]),
        parts=run.clock.parts,
        cost=trained_tokens(run.study.state(), since=run.clock.began),
    )


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """Length of the union of intervals."""
    total, reach = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(end - max(start, reach), 0.0)
        reach = max(reach, end)
    return total
