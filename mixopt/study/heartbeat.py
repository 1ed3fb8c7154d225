"""Leases of long trials are prolonged beside the training."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from mixopt.errors import StudyError


@contextmanager
def repeated(beat: Callable[[], object], pause: float) -> Iterator[None]:
    """Call a function again and again while the block runs, from a thread of its own.

    Args:
        beat: What is called. Its ``StudyError`` is passed over: a lost lease shows at the next
            write, and a storage that is away may come back.
        pause: Seconds before each call.
    """
    done = threading.Event()

    def run() -> None:
        while not done.wait(pause):
            with suppress(StudyError):
                beat()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
