"""What takes long, fits above all: functions for a process of their own, and the desk that asks.

A study's next round is made as soon as the one before it is complete, so an asker finds trials that
wait. Nothing here runs in the process that answers requests.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from sqlalchemy.engine import URL

from mixopt.errors import MixoptError, StorageError, StudyError
from mixopt.propose.recommend import estimates_at
from mixopt.report import report_data
from mixopt.report.components import Page
from mixopt.report.study_page import report_page
from mixopt.service.what_if import Predicted, PredictedRow, WhatIf, nearest_row
from mixopt.space import geometry_of
from mixopt.study import Study
from mixopt.study.search_end import require_progress

T = TypeVar("T")

#: Answers that are kept; the oldest go first.
KEPT = 256


@dataclass(frozen=True)
class StudyRef:
    """A study as another process finds it.

    Attributes:
        address: Of the storage.
        name: Of the study.
        created: When, in seconds since the epoch, which tells it from a deleted one whose name, and
            with SQLite whose number, it has.
        settings: As stored; other settings make another reference.
    """

    address: URL
    name: str
    created: float
    settings: str


#: Studies that this process holds open, the least used first.
_OPEN: OrderedDict[StudyRef, Study] = OrderedDict()
_MOST_OPEN = 4


def _opened(ref: StudyRef) -> Study:
    """The study, which keeps its fit from one question to the next."""
    if ref not in _OPEN:
        _OPEN[ref] = Study.open(ref.address, ref.name)
    _OPEN.move_to_end(ref)
    close_studies(keep=_MOST_OPEN)
    return _OPEN[ref]


def close_studies(keep: int = 0) -> None:
    """Close the connections of the studies held open, but for the last used ones."""
    while len(_OPEN) > keep:
        _OPEN.popitem(last=False)[1].store.close()


def advance(ref: StudyRef) -> str | None:
    """Make the next round; returns why there is none, None where there is."""
    study = _opened(ref)
    require_progress(study.state())
    reason = study.close_search()
    if reason is None:
        study.propose()
    return reason


def recommendation(ref: StudyRef) -> str:
    """The recommendation as JSON."""
    return _opened(ref).recommend().model_dump_json()


def page(ref: StudyRef) -> Page:
    """The report."""
    return report_page(report_data(_opened(ref)))


def predict(ref: StudyRef, wish: WhatIf) -> Predicted:
    """What the surrogate expects of the allowed schedule that is nearest to a wish.

    Raises:
        StudyError: If fewer than two trials are finished.
    """
    from mixopt.propose.problem import Problem

    study = _opened(ref)
    space = study.space
    row = nearest_row(geometry_of(space), wish)
    evidence, surrogate = study.learned(extra=True)
    problem = Problem.of(space, study.objective, surrogate, evidence)
    at = estimates_at(problem, row[problem.there])
    start = estimates_at(problem, problem.baseline)
    rows = {"objective": (at[0], start[0])} | {m: (at[1][m], start[1][m]) for m in at[1]}
    return Predicted(
        schedule=geometry_of(space).decode(row),
        rows=[
            PredictedRow(metric=name, predicted=mine, baseline=base)
            for name, (mine, base) in rows.items()
        ],
    )


def confirm(ref: StudyRef) -> int:
    """Add the confirmation runs of the recommendation; returns how many are to be run."""
    study = _opened(ref)
    return len(study.add_trials(study.confirmation_trials(study.recommend())))


def warm() -> None:
    """Load what the first fit needs."""
    import mixopt.propose  # noqa: F401


def _end_with(parent: Connection) -> None:
    """End this process when the other end is closed: the server stopped, or was killed."""

    def watch() -> None:
        try:
            parent.recv()
        except (EOFError, OSError):
            os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


class Desk:
    """Takes questions that take long, each once, and keeps the answers.

    Args:
        processes: How many questions are answered at once.
        executor: Where they are answered; None for processes of the desk's own.
    """

    def __init__(self, processes: int = 1, executor: Executor | None = None) -> None:
        self._processes = processes
        self._given = executor
        self._executor = executor
        self._life: Connection | None = None
        self._lock = threading.Lock()
        self._answers: OrderedDict[tuple[str, Any], Future[Any]] = OrderedDict()

    def start(self) -> None:
        """Load the libraries before the first question."""
        with self._lock:
            self._pool().submit(warm)

    def close(self) -> None:
        """End the processes, whatever they do: a round half made is not stored."""
        if self._given is None and self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
        if self._life is not None:
            self._life.close()

    def ask(self, key: Hashable, question: Callable[..., T], *given: Any) -> Future[T]:
        """The answer to a question, asked now unless it was before.

        Args:
            key: Equal where the answer is the same.
            question: A function of this module.
            given: Its arguments.
        """
        whole = (question.__name__, key)
        with self._lock:
            found = self._answers.get(whole)
            if found is None or _worth_another_try(found):
                found = self._answers[whole] = self._pool().submit(question, *given)
            self._answers.move_to_end(whole)
            while len(self._answers) > KEPT:
                self._answers.popitem(last=False)
        return found

    def newest(self, question: Callable[[StudyRef], T], study: StudyRef) -> T | None:
        """The newest answer there is on a study, whatever has changed since."""
        with self._lock:
            asked = list(self._answers.items())
        for (name, key), found in reversed(asked):
            asked_of = replace(key[0], settings=study.settings)
            same = name == question.__name__ and asked_of == study
            if same and found.done() and not found.cancelled() and found.exception() is None:
                answer: T = found.result()
                return answer
        return None

    def working(self, key: Hashable, question: Callable[..., Any]) -> bool:
        """Whether a question was asked and has no answer yet."""
        with self._lock:
            found = self._answers.get((question.__name__, key))
        return found is not None and not found.done()

    def _pool(self) -> Executor:
        broken = self._given is None and getattr(self._executor, "_broken", False)
        if self._executor is None or broken:
            context = get_context("spawn")
            mine, self._life = context.Pipe(duplex=False)
            self._executor = ProcessPoolExecutor(
                self._processes, mp_context=context, initializer=_end_with, initargs=(mine,)
            )
        return self._executor


def _worth_another_try(answer: Future[Any]) -> bool:
    """Whether it failed for a reason that may have passed."""
    failed = answer.exception() if answer.done() and not answer.cancelled() else None
    return answer.cancelled() or isinstance(failed, (BrokenExecutor, StorageError))


def answer_of(found: Future[T], what: str) -> T:
    """The answer of a question that is done.

    Raises:
        MixoptError: What the question raised; other errors as one of these.
    """
    try:
        return found.result(timeout=0)
    except MixoptError:
        raise
    except BrokenExecutor as error:
        raise StorageError(
            f"the process that makes {what} has died: {error}", "ask again"
        ) from None
    except Exception as error:
        logging.getLogger("mixopt.service").error("%s failed", what, exc_info=error)
        raise StudyError(
            f"{what} cannot be made: {type(error).__name__}: {error}", "see the server's log"
        ) from None
