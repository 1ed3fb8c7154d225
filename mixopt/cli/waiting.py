"""What a verb is doing, on standard error, as soon as one has to wait for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mixopt.cli.app import say
from mixopt.steps import LOG

#: Seconds without a word after which the step is named, and between two times.
FIRST, AGAIN = 2.0, 10.0


class Waiting(logging.Handler):
    """Names the step that lasts, with the seconds since the verb began.

    What loads before the first step is named once.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._began, self._over = time.monotonic(), threading.Event()
        self._open: dict[float, str] = {}
        self._loading = True

    def emit(self, record: logging.LogRecord) -> None:
        """Take up a step that begins, leave off one that is over, and tell a warning."""
        number = getattr(record, "step", 0.0)
        self._loading = False
        if record.levelno > logging.INFO:
            say(record.getMessage())
        elif record.levelno == logging.INFO:
            self._open[number] = record.getMessage()
        else:
            self._open.pop(number, None)

    def lasting(self) -> str | None:
        """The step that is being made, or what comes before the first; None where nothing is."""
        steps = list(self._open.values()) or ["loading"] * self._loading
        self._loading = False
        return steps[-1] if steps else None

    def watch(self) -> None:
        """Tell what lasts, until the verb is over."""
        pause = FIRST
        while not self._over.wait(pause):
            pause, lasting = AGAIN, self.lasting()
            if lasting is not None:
                say(f"{lasting} ({time.monotonic() - self._began:.0f} s)")

    def end(self) -> None:
        """Tell nothing more."""
        self._over.set()


@contextmanager
def told() -> Iterator[None]:
    """Steps that last are told while this is open."""
    waiting = Waiting()
    level, passed_on = LOG.level, LOG.propagate
    LOG.addHandler(waiting)
    LOG.setLevel(logging.DEBUG)
    LOG.propagate = False
    threading.Thread(target=waiting.watch, daemon=True).start()
    try:
        yield
    finally:
        waiting.end()
        LOG.removeHandler(waiting)
        LOG.setLevel(level)
        LOG.propagate = passed_on
