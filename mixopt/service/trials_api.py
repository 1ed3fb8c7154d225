"""Routes for those who run trials: ask, heartbeat, report, tell, fail."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from mixopt.service.access import Reader, Worker, act
from mixopt.service.catalogue import Catalogue, Held
from mixopt.service.fits import answer_of
from mixopt.service.messages import (
    Ask,
    Asked,
    Beat,
    Beaten,
    Fail,
    Leased,
    Release,
    Released,
    Rung,
    Rungs,
    Tell,
    Told,
    TrialDetail,
    TrialPage,
)
from mixopt.service.problems import PROBLEMS
from mixopt.service.studies_api import Name, catalogue
from mixopt.space import Observation
from mixopt.study import State
from mixopt.study.storage import Lease
from mixopt.study.storage.audit import acting
from mixopt.study.storage.workers import remote_worker

router = APIRouter(prefix="/v1/studies/{name}", tags=["trials"], responses=PROBLEMS)

Id = Annotated[
    str, Path(max_length=100, pattern=r"^[^\x00-\x1f\x7f/]+$", description="Id of the trial.")
]
RETRY = {"Retry-After": "1"}


@router.get("/trials")
def list_trials(
    request: Request,
    name: Name,
    _: Reader,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[int, Query(ge=-1, le=2**31 - 1)] = -1,
    state: State | None = None,
) -> TrialPage:
    """Trials in the order of their proposal."""
    study = catalogue(request).held(name).study
    found = study.store.trials(study.id, after=after, limit=limit, state=state)
    more = len(found) == limit
    return TrialPage(trials=found, next=found[-1].position if more else None)


@router.post(
    "/trials:ask",
    responses={202: {"model": Asked, "description": "Nothing yet; see `waiting`."}},
)
def ask_trials(request: Request, response: Response, name: Name, wish: Ask, who: Worker) -> Asked:
    """Take trials under a lease; 202 with ``Retry-After`` where one has to wait for them."""
    known = catalogue(request)
    held = known.held(name)
    held.require_in_use()
    taken = _take(held, wish, who.name)
    if not taken:
        stopped = _next_round(known, held)
        if isinstance(stopped, str):
            return Asked(stop_reason=stopped)
        # Looked at before: a round that is stored in between is nobody's yet.
        others = known.store.any_open(held.study.id)
        taken = _take(held, wish, who.name)
        if not taken:
            response.status_code, response.headers["Retry-After"] = 202, RETRY["Retry-After"]
            return Asked(waiting="others" if others else "proposals")
    return Asked(trials=taken)


def _take(held: Held, wish: Ask, who: str) -> list[Leased]:
    study = held.study
    worker = remote_worker(f"{who}/{wish.worker}")
    found = study.store.lease(
        study.id,
        worker=worker,
        seconds=wish.lease_seconds,
        n=wish.n,
        search_only=False,
        key=wish.key,
    )
    return [Leased(trial=r.trial, lease=le.token, expires=le.expires) for r, le in found]


def _next_round(known: Catalogue, held: Held) -> str | None:
    """Why there are no more trials; None where there are, or may be soon."""
    going = known.go_on(held)
    return answer_of(going, "the next round") if going is not None and going.done() else None


@router.get("/trials/{trial}")
def show_trial(request: Request, name: Name, trial: Id, _: Reader) -> TrialDetail:
    """A trial with everything measured on it."""
    study = catalogue(request).held(name).study
    record = study.record_of(trial)
    return TrialDetail(record=record, observations=study.store.observations(study.id, trial))


@router.post("/trials/{trial}:heartbeat")
def prolong(request: Request, name: Name, trial: Id, beat: Beat, _: Worker) -> Beaten:
    """Prolong a lease."""
    study = catalogue(request).held(name).study
    lease = _lease(study.id, trial, beat.lease)
    return Beaten(expires=study.store.heartbeat(lease, beat.lease_seconds).expires)


@router.post("/trials/{trial}:release")
def release(request: Request, name: Name, trial: Id, body: Release, who: Worker) -> Released:
    """Let a trial wait again that its worker will not run."""
    study = catalogue(request).held(name).study
    with acting(act(who, "release", name, trial)):
        done = study.store.give_back(_lease(study.id, trial, body.lease))
    return Released(released=done)


@router.post("/trials/{trial}:report")
def report(request: Request, name: Name, trial: Id, body: Rungs, who: Worker) -> Told:
    """Store rungs of a trial that goes on; what is stored already may be among them."""
    study = catalogue(request).held(name).study
    lease = None if body.lease is None else _lease(study.id, trial, body.lease)
    with acting(act(who, "report", name, trial)):
        study.record(trial, _rows(trial, body.observations), lease=lease)
    return Told(state=State.running)


@router.post("/trials/{trial}:tell")
def tell(request: Request, name: Name, trial: Id, body: Tell, who: Worker) -> Told:
    """End a trial with its results; telling the same again does nothing."""
    known = catalogue(request)
    held = known.held(name)
    study = held.study
    lease = None if body.lease is None else _lease(study.id, trial, body.lease)
    told = _rows(trial, body.observations) if body.values is None else body.values
    with acting(act(who, "tell", name, trial)):
        state = study.tell(trial, told, body.tokens, lease=lease)
    known.go_on(held)
    return Told(state=state)


@router.post("/trials/{trial}:fail")
def fail(request: Request, name: Name, trial: Id, body: Fail, who: Worker) -> Told:
    """Store that a trial failed, and why."""
    known = catalogue(request)
    held = known.held(name)
    lease = None if body.lease is None else _lease(held.study.id, trial, body.lease)
    with acting(act(who, "fail", name, trial)):
        held.study.fail(trial, body.reason, lease=lease)
    known.go_on(held)
    return Told(state=State.failed)


def _lease(study: int, trial: str, token: str) -> Lease:
    # The storage compares the token alone; the rest is for those who hold a lease themselves.
    return Lease(study, trial, token, worker="", expires=0.0)


def _rows(trial: str, rungs: list[Rung]) -> list[Observation]:
    return [Observation(trial=trial, **rung.model_dump()) for rung in rungs]
