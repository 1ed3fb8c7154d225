"""Leases of long trials are prolonged beside the training."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from mixopt.errors import StudyError
from mixopt.study.storage import Lease, Storage

#: Seconds from one heartbeat after which a trial is free for other hosts.
LEASE = 600.0


@contextmanager
def beating(store: Storage, *leases: Lease, seconds: float = LEASE) -> Iterator[None]:
    """Prolong leases for as long as the block runs, from a thread of its own.

    A lease that was lost is not prolonged any more; the next write under it is refused.

    Args:
        store: Where they are kept.
        leases: Of the trials that run.
        seconds: From each heartbeat to the end of the lease.
    """
    if store.in_memory:
        # No other process can take the trials, and its one connection is not shared by threads.
        yield
        return

    def beat() -> None:
        for lease in leases:
            # The others are prolonged although one was lost.
            with suppress(StudyError):
                store.heartbeat(lease, seconds)

    with repeated(beat, seconds / 4):
        yield


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
