"""What every request passes: its host, its origin, its size, its rate; and headers on the way back.

One layer of plain ASGI, because a request that is refused must cost nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mixopt.service.problems import Problem, as_response, problem

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
Measure = Callable[[str, str, int, float], None]
#: Clients that are remembered at once.
CLIENTS = 10_000

# Plotly sets styles; scripts come from this server alone.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Content-Security-Policy": CONTENT_POLICY,
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Limits:
    """What a client may send.

    Attributes:
        body: Bytes of a body.
        rate: Requests per second and client, over a while.
        burst: Requests at once.
        hosts: Names under which the server is asked; None for any.
    """

    body: int = 4 * 2**20
    rate: float = 1000.0
    burst: float = 2000.0
    hosts: frozenset[str] | None = LOOPBACK


@dataclass
class Buckets:
    """Token buckets, one per client.

    Attributes:
        rate: Tokens that come back per second.
        most: Tokens that a bucket holds.
    """

    rate: float
    most: float
    _level: dict[str, tuple[float, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def left(self, client: str) -> bool:
        """Whether a client has a token left."""
        return self._now(client) >= 1

    def take(self, client: str) -> bool:
        """Take a token; False if there was none."""
        with self._lock:
            level = self._now(client)
            if len(self._level) >= CLIENTS and client not in self._level:
                self._level.clear()
            self._level[client] = (level - 1 if level >= 1 else level, time.monotonic())
        return level >= 1

    def _now(self, client: str) -> float:
        level, at = self._level.get(client, (self.most, 0.0))
        return min(self.most, level + (time.monotonic() - at) * self.rate)


class TooLarge(Exception):
    """A body is longer than it may be."""


class Guards:
    """Refuses requests before any route sees them.

    Args:
        app: What is guarded.
        limits: What a client may send.
        measure: Told of every answer: method, route, status and seconds.
    """

    def __init__(self, app: ASGIApp, limits: Limits, measure: Measure) -> None:
        self._app = app
        self._limits = limits
        self._measure = measure
        self._buckets = Buckets(limits.rate, limits.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        status, began = 0, time.perf_counter()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refusal(scope)
        try:
            if refused is None:
                await self._app(scope, self._counted(receive), sending)
        except TooLarge:
            if status:
                raise
            refused = _too_large(self._limits.body)
        if refused is not None:
            retry = {"Retry-After": "1"} if refused.status == 429 else {}
            await as_response(refused, retry)(scope, receive, sending)
        # The router writes the route that it chose into the scope.
        route = getattr(scope.get("route"), "path", "none")
        self._measure(scope["method"], route, status, time.perf_counter() - began)

    def _refusal(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if self._limits.hosts is not None and host not in self._limits.hosts:
            return problem(400, "wrong_host", f"this server is not {host!r}", "see --allow-host")
        if scope["method"] not in SAFE and _from_elsewhere(headers):
            return problem(403, "cross_site", "a page of another site sent this request")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._limits.body:
            return _too_large(self._limits.body)
        client = scope["client"][0] if scope.get("client") else ""
        if not self._buckets.take(client):
            return problem(429, "too_many_requests", "too many requests at once", "slow down")
        return None

    def _counted(self, receive: Receive) -> Receive:
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limits.body:
                raise TooLarge
            return message

        return counted


def _too_large(most: int) -> Problem:
    return problem(413, "too_large", f"a body may have {most:,} bytes", "send less at once")


def _from_elsewhere(headers: Headers) -> bool:
    """Whether a browser sends this from a page of another site; programs send neither header."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")
