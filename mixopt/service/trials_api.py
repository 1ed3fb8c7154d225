"""Routes for those who run trials: ask, heartbeat, report, tell, fail."""

from __future__ import annotations

from typing import Annotated, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from mixopt.service.access import Reader, Visitor, act
from mixopt.service.catalogue import Catalogue, Held
from mixopt.service.fits import answer_of
from mixopt.service.messages import (
    Ask,
    Asked,
    Attach,
    Attached,
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
from mixopt.service.turns import Turn, Turns
from mixopt.space import Observation
from mixopt.study import State
from mixopt.study.results.recording import attachment
from mixopt.study.storage import Lease
from mixopt.study.storage.access_tokens import Token
from mixopt.study.storage.audit import acting
from mixopt.study.storage.workers import remote_worker

T = TypeVar("T")

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
    more, now = len(found) == limit, study.state()
    values = {r.trial.id: value for r in found if (value := now.value_of(r)) is not None}
    return TrialPage(trials=found, objectives=values, next=found[-1].position if more else None)


@router.post(
    "/trials:ask",
    responses={202: {"model": Asked, "description": "Nothing yet; see `waiting`."}},
)
async def ask_trials(
    request: Request, response: Response, name: Name, wish: Ask, caller: Visitor
) -> Asked:
    """Take trials under a lease; 202 with ``Retry-After`` where one has to wait for them."""

    def do(held: Held, who: Token) -> tuple[Held, Token, list[Leased]]:
        held.require_in_use()
        return held, who, _take(held, wish, who.name)

    held, who, taken = await _turn(request, Turn(caller, name, do))
    if taken:
        return Asked(trials=taken)
    found = await run_in_threadpool(_take_later, catalogue(request), held, wish, who.name)
    if found.waiting is not None:
        response.status_code, response.headers["Retry-After"] = 202, RETRY["Retry-After"]
    return found


def _take_later(known: Catalogue, held: Held, wish: Ask, who: str) -> Asked:
    """What there is where nothing was free: the end, or what one waits for."""
    stopped = _next_round(known, held)
    if isinstance(stopped, str):
        return Asked(stop_reason=stopped)
    # Looked at before: a round that is stored in between is nobody's yet.
    others = known.store.any_open(held.study.id)
    taken = _take(held, wish, who)
    if taken:
        return Asked(trials=taken)
    return Asked(waiting="others" if others else "proposals")


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


@router.post("/trials:attach")
async def attach_runs(request: Request, name: Name, body: Attach, caller: Visitor) -> Attached:
    """Add finished runs from elsewhere, which the study learns from, all or none."""

    def do(held: Held, who: Token) -> Attached:
        found = [
            attachment(held.study.config, run.schedule, run.values, run.fidelity, run.id)
            for run in body.runs
        ]
        with acting(act(who, "attach", name)):
            return Attached(new=held.study.attach_all(found))

    return await _turn(request, Turn(caller, name, do, ends=True))


@router.get("/trials/{trial}")
def show_trial(request: Request, name: Name, trial: Id, _: Reader) -> TrialDetail:
    """A trial with everything measured on it."""
    study = catalogue(request).held(name).study
    record = study.record_of(trial)
    return TrialDetail(record=record, observations=study.store.observations(study.id, trial))


@router.post("/trials/{trial}:heartbeat")
async def prolong(request: Request, name: Name, trial: Id, beat: Beat, caller: Visitor) -> Beaten:
    """Prolong a lease."""

    def do(held: Held, _: Token) -> Beaten:
        lease = _lease(held, trial, beat.lease)
        return Beaten(expires=held.study.store.heartbeat(lease, beat.lease_seconds).expires)

    return await _turn(request, Turn(caller, name, do))


@router.post("/trials/{trial}:release")
async def release(
    request: Request, name: Name, trial: Id, body: Release, caller: Visitor
) -> Released:
    """Let a trial wait again that its worker will not run."""

    def do(held: Held, who: Token) -> Released:
        with acting(act(who, "release", name, trial)):
            return Released(released=held.study.store.give_back(_lease(held, trial, body.lease)))

    return await _turn(request, Turn(caller, name, do))


@router.post("/trials/{trial}:report")
async def report(request: Request, name: Name, trial: Id, body: Rungs, caller: Visitor) -> Told:
    """Store rungs of a trial that goes on; what is stored already may be among them."""

    def do(held: Held, who: Token) -> Told:
        rows, lease = _rows(trial, body.observations), _lease_or_none(held, trial, body.lease)
        with acting(act(who, "report", name, trial)):
            held.study.record(trial, rows, lease=lease)
        return Told(state=State.running)

    return await _turn(request, Turn(caller, name, do))


@router.post("/trials/{trial}:tell")
async def tell(request: Request, name: Name, trial: Id, body: Tell, caller: Visitor) -> Told:
    """End a trial with its results; telling the same again does nothing."""

    def do(held: Held, who: Token) -> Told:
        told = _rows(trial, body.observations) if body.values is None else body.values
        lease = _lease_or_none(held, trial, body.lease)
        with acting(act(who, "tell", name, trial)):
            return Told(state=held.study.tell(trial, told, body.tokens, lease=lease))

    return await _turn(request, Turn(caller, name, do, ends=True))


@router.post("/trials/{trial}:fail")
async def fail(request: Request, name: Name, trial: Id, body: Fail, caller: Visitor) -> Told:
    """Store that a trial failed, and why."""

    def do(held: Held, who: Token) -> Told:
        with acting(act(who, "fail", name, trial)):
            held.study.fail(trial, body.reason, lease=_lease_or_none(held, trial, body.lease))
        return Told(state=State.failed)

    return await _turn(request, Turn(caller, name, do, ends=True))


async def _turn(request: Request, turn: Turn[T]) -> T:
    turns: Turns = request.app.state.turns
    return await turns.take(turn)


def _lease(held: Held, trial: str, token: str) -> Lease:
    # The storage compares the token alone; the rest is for those who hold a lease themselves.
    return Lease(held.study.id, trial, token, worker="", expires=0.0)


def _lease_or_none(held: Held, trial: str, token: str | None) -> Lease | None:
    return None if token is None else _lease(held, trial, token)


def _rows(trial: str, rungs: list[Rung]) -> list[Observation]:
    return [Observation(trial=trial, **rung.model_dump()) for rung in rungs]
