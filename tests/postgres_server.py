"""A PostgreSQL server of the tests' own, in a temporary folder, which ends with them."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psycopg

DEBIAN = Path("/usr/lib/postgresql")
USER = "postgres"
PATIENCE = 60
PRCTL = ctypes.CDLL(None).prctl


def programs():
    """The folder of the newest initdb; None where there is no server."""
    found = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    known = str(found[-1]) if found else shutil.which("initdb")
    return Path(known).resolve().parent if known else None


def install():
    """Install Debian's server, where that can be done; returns whether there is one now."""
    if programs() is None and shutil.which("apt-get") and os.geteuid() == 0:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        # Several test processes may come here at once.
        apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
        for command in (["update"], ["install", "-y", "--no-install-recommends", "postgresql"]):
            subprocess.run([*apt, *command], env=quiet, check=False)
    return programs() is not None


def _end_with_parent():
    # PR_SET_PDEATHSIG: also tests that are killed leave no server behind.
    PRCTL(1, signal.SIGQUIT)


@contextmanager
def server():
    """URL of the database ``postgres`` on a running server."""
    tools = programs()
    # PostgreSQL refuses to run as root.
    role = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="mixopt-postgres-") as name:
        folder = Path(name)
        if role:
            shutil.chown(folder, USER, USER)
        data = folder / "data"
        how = {"cwd": folder, **role}
        make = [tools / "initdb", "-D", data, "-U", "test", "-A", "trust", "-E", "UTF8", "-N"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL, **how)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        # Nothing here outlives the tests; what makes a write survive a power cut only takes time.
        settings = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
        command = [tools / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder]
        command += [part for setting in settings for part in ("-c", setting)]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command,
                stderr=log,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - it takes no lock
                **how,
            )
        url = f"postgresql://test:hush@127.0.0.1:{port}/postgres"
        try:
            _wait_until_it_answers(process, url, folder / "log")
            yield url
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait()


def _wait_until_it_answers(process, url, log):
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}")
