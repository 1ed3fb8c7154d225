"""How many asks and tells a service answers on loopback, and how fast: open loop, both databases.

Requests are sent at the moments of a fixed rate whatever became of those before, and times are
counted from those moments, so that a server that falls behind is not spared; one that is not
answered within ten seconds counts as that late. Where the wanted rate is not held, half of it is
tried, and so on. The load average before each run says how busy the machine was without it, and
``server_cpu_s`` and ``client_cpu_s`` are the processor times of the server and of this process: the
requests are written to sockets here, because a client library takes more of the same two cores than
the server does.

Run: python benchmarks/service_load.py --json benchmarks/results/service_load.json
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np

from mixopt.service.served_file import make_study
from mixopt.space import Schedule, Trial
from mixopt.study import Storage
from mixopt.study.storage.workers import remote_worker
from mixopt.tune.study_file import StudyFile

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from databases import empty_database
from postgres_server import server as postgres_server

ASKS, TELLS = 200, 500
LIMIT = 0.1
#: Seconds after which a request is given up.
PATIENCE = 10.0
STUDY = {
    "name": "load",
    "space": {"domains": ["web", "code", "books"], "baseline": "uniform"},
    "objective": {"weights": {"loss": 1.0}},
    "fidelity": {"parameters": 1_000_000, "tokens": 1_000_000_000},
    "budget": {"trials": 1_000_000},
    "trainer": {"kind": "external"},
}


def prepare(url: str, asks: int, tells: int) -> list[tuple[str, str]]:
    """A study with so many waiting trials, and the leases of those that will be told."""
    store = Storage(url)
    study = make_study(StudyFile.model_validate(STUDY), store)
    weights = Schedule.static(dict.fromkeys(study.space.names, 1 / 3))
    names = [f"t{k:06d}" for k in range(asks + tells + 100)]
    store.add_trials(
        study.id, [Trial(id=n, schedule=weights, fidelity=study.fidelity) for n in names]
    )
    held = store.lease(study.id, worker=remote_worker("load"), seconds=1e5, n=tells)
    store.close()
    return [(record.trial.id, lease.token) for record, lease in held]


@contextlib.contextmanager
def serving(url: str) -> Iterator[tuple[int, int]]:
    """The port and the number of the process of a server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mixopt", "serve", "--storage", url, "--port", str(port)]
    process = subprocess.Popen([*command, "--rate", "1000000"], stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(httpx2.TransportError):
                if httpx2.get(f"http://127.0.0.1:{port}/readyz").is_success:
                    break
            time.sleep(0.2)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


class Wire:
    """Kept connections to the server; as many as there are requests in flight.

    Args:
        port: Of the server.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, path: str, body: dict[str, object]) -> None:
        """Send a request and read its answer, which must be 200."""
        data = json.dumps(body).encode()
        head = f"POST /v1/studies/load/trials{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        ends = self._free.pop() if self._free else None
        reader, writer = ends or await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(head.encode() + data)
            found = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", found.lower())
            if length is None or not found.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(found.decode())
            await reader.readexactly(int(length[1]))
        except BaseException:
            writer.close()
            raise
        self._free.append((reader, writer))

    def close(self) -> None:
        """End every connection."""
        for _, writer in self._free:
            writer.close()


async def load(
    port: int, leases: list[tuple[str, str]], scale: float, seconds: float
) -> dict[str, list[float]]:
    """Times of every ask and tell at a share of the wanted rates."""
    took: dict[str, list[float]] = {"ask": [], "tell": []}
    wire, start = Wire(port), time.perf_counter() + 0.5

    async def one(kind: str, at: float, path: str, body: dict[str, object]) -> None:
        await asyncio.sleep(max(0.0, start + at - time.perf_counter()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await wire.post(path, body)
        took[kind].append(min(PATIENCE, time.perf_counter() - start - at))

    asks, tells = round(ASKS * scale * seconds), round(TELLS * scale * seconds)
    wanted = [one("ask", k / (ASKS * scale), ":ask", {"n": 1}) for k in range(asks)]
    for k, (trial, lease) in enumerate(leases[:tells]):
        body = {"lease": lease, "values": {"loss": 2.0}}
        wanted.append(one("tell", k / (TELLS * scale), f"/{trial}:tell", body))
    try:
        await asyncio.gather(*wanted)
    finally:
        wire.close()
    return took


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(url: str, scale: float, seconds: float) -> dict[str, object]:
    """Figures of one run at a share of the wanted rates."""
    asks, tells = (round(rate * scale * seconds) for rate in (ASKS, TELLS))
    leases = prepare(url, asks, tells)
    with serving(url) as (port, server):
        busy, before = os.getloadavg()[0], [cpu_seconds(pid) for pid in (server, os.getpid())]
        took = asyncio.run(load(port, leases, scale, seconds))
        after = [cpu_seconds(pid) for pid in (server, os.getpid())]
    row: dict[str, object] = {"scale": scale, "seconds": seconds, "load_average_before": busy}
    for name, start, end in zip(("server", "client"), before, after, strict=True):
        row[f"{name}_cpu_s"] = round(end - start, 2)
    for kind, times in took.items():
        p50, p99 = np.percentile(times, [50, 99])
        row[kind] = {
            "per_second": len(times) / seconds,
            "p50_ms": round(1e3 * p50, 1),
            "p99_ms": round(1e3 * p99, 1),
            "given_up": sum(t >= PATIENCE for t in times),
        }
    row["held"] = all(np.percentile(t, 99) < LIMIT for t in took.values())
    return row


def main() -> None:
    """Measure and print; keep with ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--least", type=float, default=1 / 32)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = []
    with postgres_server() as postgres, tempfile.TemporaryDirectory() as folder:
        for database in ("sqlite", "postgres"):
            scale = 1.0
            while scale >= asked.least:
                file = f"sqlite:///{folder}/{scale}.db"
                url = file if database == "sqlite" else empty_database(postgres)
                row = {"database": database, **measure(url, scale, asked.seconds)}
                print(json.dumps(row), flush=True)
                rows.append(row)
                if row["held"]:
                    break
                scale /= 2
    if asked.json:
        asked.json.write_text(json.dumps({"cpus": os.cpu_count(), "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
