"""Routes for what a study concludes: recommendation, schedule, exports, report."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Hashable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from mixopt import __version__
from mixopt.export import EXPORTERS, Provenance, export_files, plan_export
from mixopt.propose import Recommendation
from mixopt.report.page import render_page
from mixopt.service import fits
from mixopt.service.access import Reader, Worker, act
from mixopt.service.catalogue import Held
from mixopt.service.messages import Confirmed, Waiting
from mixopt.service.problems import PROBLEMS
from mixopt.service.studies_api import Name, catalogue
from mixopt.service.trials_api import RETRY
from mixopt.service.what_if import Predicted, WhatIf
from mixopt.space import Schedule
from mixopt.study.storage.audit import acting

T = TypeVar("T")

_LATER: dict[int | str, dict[str, Any]] = {
    202: {"model": Waiting, "description": "It is being computed; see `Retry-After`."}
}
router = APIRouter(prefix="/v1/studies/{name}", tags=["answers"], responses={**PROBLEMS, **_LATER})

# The page holds its own scripts; in a sandbox they reach nothing of this server.
PAGE_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:"
)
Trainer = Literal[EXPORTERS]  # type: ignore[valid-type]
Size = Annotated[int | None, Query(ge=1, le=2**31, description="Of the target run.")]
Of = Annotated[str | None, Query(max_length=100, description="Id of a trial; else recommended.")]


class Later(Exception):
    """An answer is not there yet."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


def later(_: Request, error: Exception) -> Response:
    """The answer that says so."""
    return JSONResponse({"waiting": str(error)}, 202, RETRY)


def _answer(
    request: Request, held: Held, question: Callable[..., T], what: str, *given: Hashable
) -> T:
    found = catalogue(request).ask(held, question, *given)
    if not found.done():
        raise Later(what)
    return fits.answer_of(found, what)


@router.get("/recommendation", response_model=Recommendation)
def show_recommendation(request: Request, name: Name, _: Reader) -> Response:
    """What to train on, with its uncertainty; the same for the same results and seed."""
    held = catalogue(request).held(name)
    text = _answer(request, held, fits.recommendation, "the recommendation")
    return Response(text, media_type="application/json")


@router.post("/recommendation:confirm")
def confirm(request: Request, name: Name, who: Worker) -> Confirmed:
    """Add fresh runs of the recommendation and the baseline; ``ask`` hands them out."""
    held = catalogue(request).held(name)
    with acting(act(who, "confirm", name)):
        return Confirmed(added=_answer(request, held, fits.confirm, "the confirmation runs"))


@router.post("/prediction")
def predict(request: Request, name: Name, wish: WhatIf, _: Reader) -> Predicted:
    """What is expected of the allowed schedule nearest to given weights; nothing is stored."""
    held = catalogue(request).held(name)
    return _answer(request, held, fits.predict, "the prediction", wish)


@router.get("/schedule", responses={200: {"description": "A schedule.json."}})
def show_schedule(request: Request, name: Name, _: Reader, trial: Of = None) -> Response:
    """The recommended schedule, or that of a trial, as ``schedule.json``."""
    text = _files(request, name, "schedule", trial)["schedule.json"]
    return Response(text, media_type="application/json")


@router.get(
    "/export/{trainer}",
    response_class=Response,
    responses={200: {"description": "A zip of its files.", "content": {"application/zip": {}}}},
)
def export(
    request: Request,
    name: Name,
    trainer: Trainer,
    _: Reader,
    trial: Of = None,
    sequence_length: Size = None,
    batch: Size = None,
) -> Response:
    """The files that one trainer loads, of the recommended schedule or that of a trial.

    ``PATH_OF_<domain>`` stands in for the path of a domain that the study does not know; trainers
    that count sequences or steps need ``sequence_length`` (tokens) and ``batch`` (sequences).
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, text in _files(request, name, trainer, trial, sequence_length, batch).items():
            archive.writestr(file, text)
    head = {"Content-Disposition": f'attachment; filename="{name}-{trainer}.zip"'}
    return Response(packed.getvalue(), 200, head, media_type="application/zip")


@router.get(
    "/report",
    response_class=Response,
    responses={200: {"description": "The report, one HTML file.", "content": {"text/html": {}}}},
)
def show_report(request: Request, name: Name, _: Reader) -> Response:
    """The report that ``mixopt report`` writes."""
    held = catalogue(request).held(name)
    text = render_page(_answer(request, held, fits.page, "the report"))
    return Response(text, 200, {"Content-Security-Policy": PAGE_POLICY}, media_type="text/html")


def _files(
    request: Request,
    name: str,
    trainer: str,
    trial: str | None,
    length: int | None = None,
    batch: int | None = None,
) -> dict[str, str]:
    held = catalogue(request).held(name)
    study, space = held.study, held.study.space
    schedule, note = _chosen(request, held, trial)
    plan = plan_export(
        schedule,
        space,
        tokens=(space.target or study.fidelity).tokens,
        seed=study.seed,
        provenance=Provenance(study=study.name, space=space.name, mixopt=__version__, note=note),
        sequence_length=length,
        batch=batch,
    )
    return export_files(plan, trainer, placeholders=True)


def _chosen(request: Request, held: Held, trial: str | None) -> tuple[Schedule, str]:
    if trial is not None:
        record = held.study.record_of(trial)
        return record.trial.schedule, f"The schedule of trial {trial} ({record.state})."
    text = _answer(request, held, fits.recommendation, "the recommendation")
    found = Recommendation.model_validate_json(text)
    return found.schedule, found.verdict
