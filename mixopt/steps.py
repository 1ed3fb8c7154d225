"""Steps of long work, told to whoever listens: the command line shows those that last."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: Hears ``what`` at INFO as a step begins, and at DEBUG how long it took; ``record.step`` is its
#: number. Warnings are for whoever waits.
LOG = logging.getLogger("mixopt.steps")


@contextmanager
def step(what: str) -> Iterator[None]:
    """Tell that something is being done, for as long as it is.

    Args:
        what: In words, as ``fitting 64 runs``.
    """
    began = time.monotonic()
    number = {"step": began}
    LOG.info(what, extra=number)
    try:
        yield
    finally:
        LOG.debug("%s took %.1f s", what, time.monotonic() - began, extra=number)
