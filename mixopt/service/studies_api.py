"""Routes that make, list, change and delete studies."""

from __future__ import annotations

from pathlib import Path as FilePath
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.encoders import jsonable_encoder
from starlette.concurrency import run_in_threadpool

from mixopt.service.access import Admin, Reader, act, require
from mixopt.service.catalogue import Catalogue, Held
from mixopt.service.messages import (
    AdviceRow,
    SpaceSummary,
    StudyChange,
    StudyInfo,
    StudyPage,
    StudyRow,
    study_info,
)
from mixopt.service.problems import PROBLEMS
from mixopt.service.served_file import make_study, read_study
from mixopt.space import geometry_of
from mixopt.study.storage.access_tokens import Scope
from mixopt.study.storage.audit import acting
from mixopt.study.storage.whole import delete_study, set_archived, write_study
from mixopt.tune.study_file import StudyFile

router = APIRouter(prefix="/v1", tags=["studies"], responses=PROBLEMS)

NAME = r"^[A-Za-z0-9][\w.-]*$"
Name = Annotated[str, Path(pattern=NAME, max_length=200, description="Name of the study.")]
YAML = ("application/yaml", "application/x-yaml", "text/yaml")
SQLITE = "application/vnd.sqlite3"
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A study file as `mixopt run` reads it, with a trainer of kind `external`.",
        "content": {
            "application/json": {"schema": StudyFile.model_json_schema(mode="validation")},
            "application/yaml": {"schema": {"type": "string"}},
        },
    }
}


def catalogue(request: Request) -> Catalogue:
    """The server's studies."""
    found: Catalogue = request.app.state.catalogue
    return found


@router.post("/studies", status_code=201, openapi_extra=BODY)
async def create_study(request: Request, response: Response, who: Reader) -> StudyInfo:
    """Make a study; one that is there already with the same configuration is left as it is."""
    body, as_yaml = await request.body(), _is_yaml(request)

    def make() -> tuple[StudyInfo, bool]:
        file = read_study(body, as_yaml=as_yaml)
        require(who, Scope.admin, file.name)
        known = catalogue(request)
        new = known.store.study(file.name) is None
        with acting(act(who, "create", file.name)):
            make_study(file, known.store)
        held = known.held(file.name)
        known.go_on(held)
        return info_of(known, held), new

    made, new = await run_in_threadpool(make)
    response.status_code = 201 if new else 200
    return made


@router.post("/studies:check", openapi_extra=BODY)
async def check_study(request: Request, _: Reader) -> SpaceSummary:
    """What a study would be; nothing is stored."""
    body, as_yaml = await request.body(), _is_yaml(request)

    def check() -> SpaceSummary:
        file = read_study(body, as_yaml=as_yaml)
        study = make_study(file, None)
        return SpaceSummary(
            name=file.name,
            initial=study.config.initial,
            space=jsonable_encoder(geometry_of(study.space).summary()),
            advice=[str(a) for a in study.advice()],
        )

    return await run_in_threadpool(check)


@router.get("/studies")
def list_studies(
    request: Request,
    who: Reader,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str, Query(max_length=200, pattern=r"^[\w.-]*$")] = "",
    archived: bool = False,
) -> StudyPage:
    """Studies by name, those that are archived only where asked for."""
    store = catalogue(request).store
    mine = [n for n in sorted(store.study_names()) if n > after and who.study in (None, n)]
    held = (catalogue(request).held(name) for name in mine)
    rows: list[StudyRow] = []
    for each in held:
        if len(rows) == limit:
            return StudyPage(studies=rows, next=rows[-1].name)
        if archived or each.archived is None:
            rows.append(
                StudyRow(
                    name=each.study.name,
                    created=each.created,
                    archived=each.archived,
                    trials=store.counts(each.study.id),
                )
            )
    return StudyPage(studies=rows, next=None)


@router.get("/studies/{name}")
def show_study(request: Request, name: Name, _: Reader) -> StudyInfo:
    """A study: its configuration, its settings, and where it stands."""
    known = catalogue(request)
    return info_of(known, known.held(name))


@router.patch("/studies/{name}")
def change_study(request: Request, name: Name, change: StudyChange, who: Admin) -> StudyInfo:
    """Put a study away or take it out again, or change its settings (the budget, say)."""
    known = catalogue(request)
    number = known.held(name).study.id
    with acting(act(who, "change", name)):
        if change.settings is not None:
            known.store.update_settings(number, change.settings.model_dump_json())
        if change.archived is not None:
            set_archived(known.store, number, change.archived)
    held = known.held(name)
    known.go_on(held)
    return info_of(known, held)


@router.delete("/studies/{name}", status_code=204)
def remove_study(request: Request, name: Name, who: Admin) -> None:
    """Delete a study with its trials, for good."""
    known = catalogue(request)
    with acting(act(who, "delete", name)):
        delete_study(known.store, known.held(name).study.id)


@router.get(
    "/studies/{name}/file",
    response_class=Response,
    responses={200: {"content": {SQLITE: {"schema": {"type": "string", "format": "binary"}}}}},
)
def fetch_study(request: Request, name: Name, _: Reader) -> Response:
    """The whole study as a SQLite file of its own; what runs waits there."""
    store = catalogue(request).store
    with TemporaryDirectory() as folder:
        path = FilePath(folder, f"{name}.db")
        write_study(store, name, path)
        content = path.read_bytes()
    return Response(
        content,
        media_type=SQLITE,
        headers={"Content-Disposition": f'attachment; filename="{name}.db"'},
    )


@router.get("/studies/{name}/advice")
def show_advice(request: Request, name: Name, _: Reader) -> list[AdviceRow]:
    """What is published about schedules such as this study's, warnings first."""
    found = catalogue(request).held(name).study.advice()
    return [
        AdviceRow(level=a.level, phase=a.phase, message=a.message, source=a.source) for a in found
    ]


def _is_yaml(request: Request) -> bool:
    return request.headers.get("content-type", "").split(";")[0].strip() in YAML


def info_of(known: Catalogue, held: Held) -> StudyInfo:
    """A study as it is shown."""
    return study_info(held.study, held.created, held.archived, known.proposing(held))
