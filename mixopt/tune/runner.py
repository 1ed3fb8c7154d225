"""Rounds of trials on Ray Tune, until the study stops and its recommendation is confirmed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from mixopt.space import Trainer, Trial
from mixopt.study import Study
from mixopt.study.search_end import require_progress
from mixopt.tune.driver import POLL_SECONDS, Driver, Pack, open_driver
from mixopt.tune.progress import Progress
from mixopt.tune.run_summary import RunSummary, summarise
from mixopt.tune.session import count_slots, ray_session
from mixopt.tune.tracking import Tracking

if TYPE_CHECKING:
    from mixopt.propose import Recommendation

Found = Callable[["Recommendation"], None]
# Trials to be run, a batch at a time; the next batch is drawn when the one before it is over.
Batches = Iterator[Sequence[Trial]]


def run_rounds(
    study: Study,
    trainer: Trainer,
    *,
    out: str | Path,
    resources_per_trial: Mapping[str, float] | None = None,
    confirm: bool = True,
    progress: Progress | None = None,
    address: str | None = None,
    found: Found | None = None,
    pack: Pack | None = None,
    tracking: Tracking | None = None,
) -> RunSummary:
    """Run a study to its recommendation; the same call again goes on where it was killed.

    Several processes, on any hosts that reach the storage, may run one study at once: they share
    its trials.

    Args:
        study: Its storage must be a file or a server.
        trainer: Picklable; runs the trials.
        out: Folder of Ray's own files, below ``ray``, and of the trials' logs, which each node
            keeps under this path; nodes need not share it.
        resources_per_trial: As Ray counts them; None for one CPU.
        confirm: Whether to run the confirmation trials.
        progress: Shows trials as they start and end; None to show nothing.
        address: Of the Ray to use, as `ray_session` takes it.
        found: Told of the recommendation before its confirmation runs.
        pack: Most proxies that one worker trains side by side, and what they must have in common;
            None for one trial at a time.
        tracking: Other tools that keep the trials; None for none.

    Raises:
        StudyError: If the study is in memory, its first trials all fail, or a trial does not fit
            on the cluster.
    """
    driver = open_driver(study, trainer, out, resources_per_trial, progress)
    driver.pack, driver.tracking = pack, tracking or driver.tracking
    with driver.progress:
        done = _finished(driver, confirm)
        if done is None:
            with ThreadPoolExecutor(1) as beside:
                rounds = _Rounds(driver, confirm, found, beside)
                _run(driver, rounds.batches(), address, beside)
            done = rounds.recommendation()
        return summarise(study.state(), done, driver.clock, driver.spans, driver.slots)


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
    if trials:
        driver = open_driver(study, trainer, out, resources_per_trial, progress)
        with driver.progress, ThreadPoolExecutor(1) as beside:
            _run(driver, iter([trials]), address, beside)


def _run(driver: Driver, batches: Batches, address: str | None, beside: Executor) -> None:
    """Run all batches; the first is made while Ray starts."""
    driver.draw_from(lambda: beside.submit(next, batches, None))
    with driver.clock.around(ray_session(address, driver.progress.say), "ray"):
        from mixopt.tune.trainable import Work
        from mixopt.tune.tuning import tune_trials

        driver.slots = count_slots(driver.resources)
        assert driver.trainer is not None, "open_driver gives it one"
        work = Work.of(driver.trainer, driver.logs, waits=driver.study.settings.early_stop)
        with driver.leasing(), driver.clock.part("rounds"):
            tune_trials(driver, work)


def _finished(driver: Driver, confirm: bool) -> Recommendation | None:
    """The answer where nothing is left to run: Ray need not start to give it again."""
    study = driver.study
    state = study.state()
    if state.open_search or state.stop_reason is None or not study.should_stop():
        return None
    with driver.clock.part("proposals"):
        recommendation = study.recommend()
    wanted = study.confirmation_trials(recommendation) if confirm else []
    over = {r.trial.id for r in state.records if not r.open}
    return recommendation if all(t.id in over for t in wanted) else None


class _Rounds:
    """The batches of a whole run: the rounds of the search, then the confirmation runs."""

    def __init__(
        self, driver: Driver, confirm: bool, found: Found | None, beside: Executor
    ) -> None:
        self._driver, self._study, self._clock = driver, driver.study, driver.clock
        self._confirm, self._found, self._beside = confirm, found, beside
        self._recommendation: Recommendation | None = None

    def batches(self) -> Batches:
        """Each is drawn when the trials of the one before it are over."""
        study = self._study
        require_progress(study.state())
        self._driver.ahead = lambda: self._beside.submit(study.propose_beside)
        # The first design needs no models; they load while its trials run.
        self._driver.begun = lambda: self._beside.submit(_load_models)
        while (batch := self._next_round()) is not None:
            if not batch:
                # Another process is proposing the round.
                time.sleep(POLL_SECONDS)
            yield batch
        self._driver.ahead = None
        with self._clock.part("proposals"):
            self._recommendation = study.recommend()
        if self._found is not None:
            self._found(self._recommendation)
        if self._confirm:
            yield study.add_trials(study.confirmation_trials(self._recommendation))

    def _next_round(self) -> Sequence[Trial] | None:
        with self._clock.part("proposals"):
            if self._study.close_search() is not None:
                return None
            return self._study.propose()

    def recommendation(self) -> Recommendation:
        """The result, with the confirmation runs that are finished."""
        assert self._recommendation is not None, "the search is over"
        return self._study.with_confirmations(self._recommendation)


def _load_models() -> None:
    """Import what fits and proposes, seconds before it is needed."""
    for name in ("mixopt.surrogate.metrics", "mixopt.propose.batch"):
        import_module(name)
