"""Leases of long trials are prolonged beside the training."""

from __future__ import annotations

import threading
from collections.abc import Iterator
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
    done = threading.Event()
    thread = threading.Thread(target=_beat, args=(store, leases, seconds, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _beat(store: Storage, leases: tuple[Lease, ...], seconds: float, done: threading.Event) -> None:
    while not done.wait(seconds / 4):
        for lease in leases:
            # A lost lease shows at the next write; a database that is away may come back.
            with suppress(StudyError):
                store.heartbeat(lease, seconds)
