"""A worker: any machine that takes the trials of a served study and runs them, one at a time."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from mixopt.errors import LeaseError, MixoptError
from mixopt.service.client import ServedStudy
from mixopt.space import Observation, Trainer, Trial
from mixopt.study.heartbeat import repeated
from mixopt.study.trainers import require_finite, run_trainer

Say = Callable[[str], None]

#: Between looks at trials that other workers run.
POLL_SECONDS = 2.0
#: For which a worker waits for a service that is away.
PATIENCE = 24 * 3600.0


class Stopped(BaseException):
    """The process was told to end; not an error of the trial."""


def work(
    study: ServedStudy,
    trainer: Trainer,
    *,
    say: Say,
    most: int | None = None,
    lease_seconds: float = 600.0,
    logs: Path | None = None,
) -> str:
    """Run trials until the search is over; SIGTERM ends the one that runs and gives it back.

    Args:
        study: Gives the trials and takes their results.
        trainer: Runs them.
        say: Told what happens, a line per trial.
        most: Trials after which the worker ends; None for no limit.
        lease_seconds: How long the service waits for a sign of life.
        logs: Folder for what failed trials printed.

    Returns:
        Why it ended.
    """
    done = 0
    with _stopping():
        try:
            while most is None or done < most:
                trials = study.ask(1, lease_seconds=lease_seconds)
                if trials:
                    done += 1
                    _run(study, trainer, trials[0], say, lease_seconds, logs)
                    continue
                reason = study.stop_reason
                if reason is not None:
                    return reason
                threading.Event().wait(POLL_SECONDS)
        except (Stopped, KeyboardInterrupt):
            return "told to stop"
    return f"ran {done} trials"


def _run(
    study: ServedStudy,
    trainer: Trainer,
    trial: Trial,
    say: Say,
    lease_seconds: float,
    logs: Path | None,
) -> None:
    """Run one trial and send all of it; a lease that was lost costs this attempt only."""

    def report(observations: Sequence[Observation]) -> None:
        require_finite(observations)
        study.record(trial.id, observations)

    try:
        with repeated(lambda: study.heartbeat(trial.id, lease_seconds), lease_seconds / 4):
            reason = run_trainer(trainer, trial, report, logs)
        _end(study, trial, reason, say)
    except LeaseError as error:
        say(f"{trial.id}: {error.message}")
    except BaseException:
        study.release(trial.id)
        raise


def _end(study: ServedStudy, trial: Trial, reason: str, say: Say) -> None:
    if not reason:
        try:
            study.finish(trial.id)
        except LeaseError:
            raise
        except MixoptError as error:
            reason = error.message
    if reason:
        study.fail(trial.id, reason)
    say(f"{trial.id}: failed: {reason}" if reason else f"{trial.id}: finished")


@contextmanager
def _stopping() -> Iterator[None]:
    """Let SIGTERM raise ``Stopped`` while the block runs."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        # Once is enough; a second one must not break into what the first one tidies up.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
