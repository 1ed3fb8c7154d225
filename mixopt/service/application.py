"""The server: one application over one storage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel
from sqlalchemy import URL
from starlette.responses import Response

from mixopt import __version__
from mixopt.errors import StudyError
from mixopt.service import answers_api, pages, studies_api, trials_api
from mixopt.service.access import Gate, Reader, require
from mixopt.service.catalogue import Catalogue
from mixopt.service.fits import Desk
from mixopt.service.guards import Guards, Limits
from mixopt.service.problems import PROBLEMS, add_handlers
from mixopt.service.turns import Turns
from mixopt.study import Storage
from mixopt.study.storage.access_tokens import Scope

health = APIRouter(tags=["health"], responses=PROBLEMS)


class Health(BaseModel):
    """Whether the server works.

    Attributes:
        status: ``ok``.
    """

    status: str = "ok"


def create_app(
    storage: str | URL,
    *,
    local: bool = True,
    limits: Limits | None = None,
    processes: int = 1,
    executor: Executor | None = None,
) -> FastAPI:
    """The service on a storage.

    Args:
        storage: URL of the database.
        local: Whether it can be reached from this host alone; it then works without tokens until
            the first is made.
        limits: What a client may send.
        processes: How many fits are made at once.
        executor: Where fits are made; None for processes of the service's own.

    Raises:
        StudyError: If the storage cannot be opened, or is in memory.
    """
    # A request is answered at once; its client tries again.
    store = Storage(storage, patience=0.0)
    if store.in_memory:
        raise StudyError(
            "a service needs a storage that other processes can open; got one in memory",
            "give it a file or a server: --storage sqlite:///studies.db",
        )
    desk = Desk(processes, executor)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        desk.start()
        yield
        app.state.turns.close()
        desk.close()
        store.close()

    app = FastAPI(
        title="mixopt",
        version=__version__,
        summary="Studies of training-data mixtures: ask, tell, recommend.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation,
    )
    app.state.catalogue = Catalogue(store, desk)
    app.state.gate = Gate(store, local)
    app.state.turns = Turns(app.state.catalogue, app.state.gate)
    app.state.meters = Meters()
    for router in (
        studies_api.router,
        trials_api.router,
        answers_api.router,
        health,
        pages.router,
    ):
        app.include_router(router)
    add_handlers(app)
    app.add_exception_handler(answers_api.Later, answers_api.later)
    app.add_middleware(Guards, limits=limits or Limits(), measure=app.state.meters.measure)
    return app


class Meters:
    """What ``/metrics`` shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "mixopt_requests", "Requests.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "mixopt_request_seconds", "Time to answer.", ["route"], registry=self.registry
        )
        self.trials = Gauge(
            "mixopt_trials",
            "Trials per study and state.",
            ["study", "state"],
            registry=self.registry,
        )

    def measure(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self.requests.labels(method, route, status).inc()
        self.seconds.labels(route).observe(seconds)


def _operation(route: APIRoute) -> str:
    return route.name


@health.get("/healthz")
async def healthz() -> Health:
    """Whether the process answers; it asks neither the database nor a fit."""
    return Health()


@health.get("/readyz")
def readyz(request: Request) -> Health:
    """Whether the database answers too."""
    catalogue: Catalogue = request.app.state.catalogue
    catalogue.store.now()
    return Health()


@health.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(request: Request, who: Reader) -> Response:
    """Requests, their times, and trials per state, in Prometheus' text format."""
    require(who, Scope.read, None)
    catalogue: Catalogue = request.app.state.catalogue
    meters: Meters = request.app.state.meters
    meters.trials.clear()
    for name in catalogue.store.study_names():
        for state, count in catalogue.store.counts(catalogue.held(name).study.id).items():
            meters.trials.labels(name, state.value).set(count)
    return Response(generate_latest(meters.registry), media_type="text/plain; version=0.0.4")
