"""Processor time of the server per ask and per tell, without sockets: what other work hides least.

Requests go to the application in this process, 24 at a time, on both databases. Time of the
PostgreSQL server itself is not in it.

Run: python benchmarks/service_cpu.py --json benchmarks/results/service_cpu.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from service_load import empty_database, postgres_server, prepare

from mixopt.service.application import create_app
from mixopt.service.guards import Limits

AT_ONCE = 24
HEADERS = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
Request = tuple[str, dict[str, Any]]


async def send(app: Any, path: str, body: dict[str, Any]) -> None:
    """One request, which must be answered with 200."""
    data, status = json.dumps(body).encode(), []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    async def answer(message: dict[str, Any]) -> None:
        status.append(message.get("status", 200))

    whole = f"/v1/studies/load/trials{path}"
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": whole,
        "raw_path": whole.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": HEADERS,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, answer)
    if set(status) != {200}:
        raise RuntimeError(f"{path}: {status}")


async def milliseconds(app: Any, wanted: list[Request]) -> float:
    """Processor time of a request, in milliseconds."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(path: str, body: dict[str, Any]) -> None:
        async with free:
            await send(app, path, body)

    start = time.process_time()
    await asyncio.gather(*(one(*request) for request in wanted))
    return round(1e3 * (time.process_time() - start) / len(wanted), 2)


def measure(url: str, requests: int) -> dict[str, float]:
    """Milliseconds per ask and per tell."""
    leases = prepare(url, requests, requests)
    asks: list[Request] = [(":ask", {"n": 1})] * requests
    tells = [(f"/{t}:tell", {"lease": lease, "values": {"loss": 2.0}}) for t, lease in leases]
    with ThreadPoolExecutor(1) as fits:
        app = create_app(url, limits=Limits(rate=1e9, burst=1e9), executor=fits)

        async def both() -> dict[str, float]:
            # The first request makes what all others find.
            await send(app, *asks[0])
            return {
                "tell_ms": await milliseconds(app, tells),
                "ask_ms": await milliseconds(app, asks),
            }

        return asyncio.run(both())


def main() -> None:
    """Measure and print; keep with ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with postgres_server() as postgres, tempfile.TemporaryDirectory() as folder:
        urls = {"sqlite": f"sqlite:///{folder}/cpu.db", "postgres": empty_database(postgres)}
        rows = [{"database": name, **measure(url, asked.requests)} for name, url in urls.items()]
    print(json.dumps(rows, indent=1))
    if asked.json:
        kept = {"requests": asked.requests, "at_once": AT_ONCE, "runs": rows}
        asked.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
