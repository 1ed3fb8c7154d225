"""The studies that a server holds: opened once, asked many times."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from mixopt.errors import NotFoundError, StudyError
from mixopt.service.fits import Desk, StudyRef, advance
from mixopt.study import State, Storage, Study

T = TypeVar("T")

#: States that a trial never leaves by itself.
OVER = (State.finished, State.ended_early, State.failed)
#: Studies that are kept open.
KEPT = 128


@dataclass(frozen=True)
class Held:
    """A study with what requests need to know of it.

    Attributes:
        study: Open for writing.
        ref: The same for another process.
        created: Seconds since the epoch.
        archived: Seconds since the epoch; None for a study in use.
    """

    study: Study
    ref: StudyRef
    created: float
    archived: float | None

    def require_in_use(self) -> None:
        """Refuse to run trials of a study that was put away."""
        if self.archived is not None:
            raise StudyError(
                f"the study {self.study.name!r} is archived and hands out no trials",
                "take it out again: mixopt study archive NAME --undo",
            )


class Catalogue:
    """Finds studies by name, and asks about them.

    Args:
        store: Of all of them; not in memory, because fits are made in another process.
        desk: Answers what takes long.
    """

    def __init__(self, store: Storage, desk: Desk) -> None:
        self.store = store
        self.desk = desk
        self._lock = threading.Lock()
        self._open: OrderedDict[StudyRef, Study] = OrderedDict()

    def held(self, name: str) -> Held:
        """One study.

        Raises:
            NotFoundError: If there is none of that name.
        """
        row = self.store.study(name)
        if row is None:
            # Other studies are not named: the caller may not be allowed to see them.
            raise NotFoundError(f"there is no study {name!r} here", "GET /v1/studies lists them")
        ref = StudyRef(self.store.address, row.name, row.created, row.settings)
        with self._lock:
            study = self._open.get(ref)
            if study is None:
                study = self._open[ref] = Study.of_row(self.store, row)
            self._open.move_to_end(ref)
            while len(self._open) > KEPT:
                self._open.popitem(last=False)
        return Held(study, ref, row.created, row.archived)

    def version(self, held: Held) -> tuple[Hashable, ...]:
        """Equal as long as no further trial is over and no setting changed."""
        counts = self.store.counts(held.study.id)
        return held.ref, tuple(counts.get(state, 0) for state in OVER)

    def ask(self, held: Held, question: Callable[..., T], *given: Hashable) -> Future[T]:
        """The answer for the trials that are over now; it is found again for equal arguments."""
        key = (*self.version(held), *given)
        return self.desk.ask(key, question, held.ref, *given)

    def proposing(self, held: Held) -> bool:
        """Whether the next round is being made."""
        return self.desk.working(self.version(held), advance)

    def go_on(self, held: Held) -> Future[str | None] | None:
        """Have the next round made where none is open; None where one is."""
        if held.archived is not None or self.store.any_open(held.study.id):
            return None
        return self.ask(held, advance)
