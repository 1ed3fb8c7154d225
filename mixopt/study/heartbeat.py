"""Leases of long trials are prolonged beside the training."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from mixopt.errors import MixoptError


@contextmanager
def beating(prolong: Callable[[], object], seconds: float) -> Iterator[None]:
    """Prolong leases for as long as the block runs, from a thread of its own.

    A lease that was lost is not prolonged any more; the next write under it is refused.

    Args:
        prolong: Called four times in the length of a lease.
        seconds: From each heartbeat to the end of the lease.
    """
    done = threading.Event()

    def beat() -> None:
        while not done.wait(seconds / 4):
            # A lost lease shows at the next write; a database that is away may come back.
            with suppress(MixoptError):
                prolong()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
