"""Errors as problem documents (RFC 9457) with codes that do not change."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from mixopt.errors import MixoptError
from mixopt.service.codes import KINDS

PROBLEM = "application/problem+json"


class Problem(BaseModel):
    """Why a request was refused.

    Attributes:
        title: Name of the status.
        status: HTTP status.
        code: Name of the kind of problem; it does not change between versions.
        detail: One sentence: what must hold and what was given.
        hint: The next step to take; empty where there is none.
        field: Place in the body that is wrong, ``space.domains.0.tokens`` say; else empty.
    """

    title: str
    status: int
    code: str
    detail: str
    hint: str = ""
    field: str = ""


class Refused(Exception):
    """A request that is refused for what it is, not for what a study says.

    Args:
        status: HTTP status.
        code: Name of the kind of problem.
        detail: One sentence.
        hint: The next step to take.
        headers: To send along.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.problem = problem(status, code, detail, hint)
        self.headers = dict(headers or {})


def problem(status: int, code: str, detail: str, hint: str = "", field: str = "") -> Problem:
    """A problem document under the title of its status."""
    title = HTTPStatus(status).phrase
    return Problem(title=title, status=status, code=code, detail=detail, hint=hint, field=field)


def problem_of(error: MixoptError) -> Problem:
    """The problem document of an error of the library."""
    status, code = next((s, c) for kind, s, c in KINDS if isinstance(error, kind))
    return problem(status, code, error.message, error.hint, error.field)


def as_response(found: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that carries a problem."""
    # As ASCII, since texts of a request may hold halves of characters.
    body = json.dumps(found.model_dump(), ensure_ascii=True)
    return Response(body, found.status, dict(headers or {}), media_type=PROBLEM)


#: What every route may answer besides its success, for the OpenAPI document.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": text,
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, text in (
        ("4XX", "The request is refused; `code` and `detail` say why."),
        ("503", "The database or the fitting process cannot be reached."),
    )
}


def add_handlers(app: FastAPI) -> None:
    """Let every error of a route become a problem document."""

    @app.exception_handler(MixoptError)
    def _known(_: Request, error: MixoptError) -> Response:
        return as_response(problem_of(error))

    @app.exception_handler(Refused)
    def _refused(request: Request, error: Refused) -> Response:
        page = "text/html" in request.headers.get("accept", "") and request.method == "GET"
        if error.problem.status == 401 and page:
            return RedirectResponse("/login", 303)
        return as_response(error.problem, error.headers)

    @app.exception_handler(RequestValidationError)
    def _invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        detail = f"{place or first['loc'][0]}: {first['msg']}"
        return as_response(problem(422, "invalid", detail, "see /docs for what is taken", place))

    @app.exception_handler(HTTPException)
    def _http(_: Request, error: HTTPException) -> Response:
        code = HTTPStatus(error.status_code).name.lower()
        found = problem(error.status_code, code, str(error.detail))
        return as_response(found, error.headers)

    @app.exception_handler(Exception)
    def _unknown(_: Request, error: Exception) -> Response:
        logging.getLogger("mixopt.service").error("unexpected error", exc_info=error)
        hint = "see the server's log"
        return as_response(problem(500, "internal", "the server met an unexpected error", hint))
