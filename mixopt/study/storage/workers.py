"""Which process holds a lease, and whether it still lives."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

# The inode of the first process namespace on every Linux kernel (PROC_PID_INIT_INO).
_FIRST_NAMESPACE = "pid:[4026531836]"


def this_worker() -> str:
    """This process as ``host:pid:born``; born tells it from a later one of the same number."""
    return f"{this_host()}:{os.getpid()}:{_born(os.getpid()) or 0}"


@cache
def this_host() -> str:
    """The host's name; in a container that numbers its own processes, with their namespace."""
    name = socket.gethostname().replace(":", "-")
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return name
    return name if namespace == _FIRST_NAMESPACE else f"{name}/{namespace[5:-1]}"


def is_dead(worker: str) -> bool:
    """Whether a process of this host has ended; False for one of another host."""
    host, pid, born = worker.rsplit(":", 2)
    if host != this_host():
        return False
    try:
        # One of another user may not be signalled; its start can be read all the same.
        with suppress(PermissionError):
            os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    return (_born(int(pid)) or 0) != int(born)


def remote_worker(name: str) -> str:
    """A worker that the service knows by a name of its own; no host is called so."""
    return f"@{name}:0:0"


def shown(worker: str) -> str:
    """A worker in words."""
    host, pid, _ = worker.rsplit(":", 2)
    return f"worker {host[1:]}" if host.startswith("@") else f"process {pid} on {host}"


def _born(pid: int) -> int | None:
    """When a process started, in clock ticks; None for one that is dead or cannot be seen."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None
