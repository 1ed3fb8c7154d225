"""The dashboard: pages made on the server, with a little script and no request to anywhere else."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from jinja2 import Template
from starlette.responses import HTMLResponse, RedirectResponse, Response

from mixopt import __version__
from mixopt.errors import MixoptError
from mixopt.export import EXPORTERS
from mixopt.report import numbers as fmt
from mixopt.report.page import TEMPLATES, environment, figures_of, plotly_script
from mixopt.service import fits
from mixopt.service.access import COOKIE, Caller, Gate, Reader
from mixopt.service.catalogue import Held
from mixopt.service.live import Live, live
from mixopt.service.problems import Refused
from mixopt.service.studies_api import Name, catalogue, list_studies
from mixopt.service.what_if import start_of
from mixopt.study import State
from mixopt.study.storage.access_tokens import Scope

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

HERE = Path(__file__).with_name("templates")
DAY = 24 * 3600
# Scripts and styles of this version never change, so a browser asks once.
KEPT = {"Cache-Control": f"public, max-age={DAY}"}
EXAMPLE = """name: my-mixture
space:
  domains:
    web: {tokens: 800_000_000_000}
    code: {tokens: 120_000_000_000}
    math: {tokens: 20_000_000_000}
  phases:
    - name: base
    - {name: ending, fraction: [0, 0.1, 0.2]}
  target: {parameters: 7_000_000_000, tokens: 500_000_000_000}
  max_epochs: 4
objective:
  weights: {web: 0.4, code: 0.3, math: 0.3}
fidelity: {parameters: 20_000_000, tokens: 2_000_000_000}
budget: {trials: 40}
"""


@cache
def _template(name: str) -> Template:
    found = environment(HERE)
    found.globals.update(version=__version__, fmt=fmt)
    return found.get_template(name)


def _page(name: str, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(_template(name).render(**values), status)


@cache
def _static() -> dict[str, tuple[str, str]]:
    script, style = "text/javascript", "text/css"
    return {
        "plotly.js": (plotly_script(), script),
        "figures.js": ((TEMPLATES / "figures.js").read_text("utf-8"), script),
        "style.css": ((TEMPLATES / "style.css").read_text("utf-8"), style),
        "dashboard.js": ((HERE / "dashboard.js").read_text("utf-8"), script),
        "dashboard.css": ((HERE / "dashboard.css").read_text("utf-8"), style),
    }


@router.get("/static/{file}")
def static(file: str) -> Response:
    """A script or style that the pages load."""
    if file not in _static():
        raise Refused(404, "not_found", f"there is no file {file!r}")
    text, kind = _static()[file]
    return Response(text, 200, KEPT, media_type=kind)


# Signing in


@router.get("/login")
def login_page() -> Response:
    """A form for a token."""
    return _page("login.html", wrong="")


@router.post("/login")
async def login(request: Request) -> Response:
    """Keep a token in a cookie that scripts cannot read and other sites cannot send."""
    form = parse_qs((await request.body()).decode(errors="replace"))
    secret = form.get("token", [""])[0].strip()
    gate: Gate = request.app.state.gate
    try:
        gate.token_of(Caller(secret, request.client.host if request.client else ""))
    except Refused as refused:
        return _page("login.html", refused.problem.status, wrong=refused.problem.detail)
    answer = RedirectResponse("/", 303)
    safe = request.url.scheme == "https"
    answer.set_cookie(COOKIE, secret, max_age=DAY, httponly=True, samesite="strict", secure=safe)
    return answer


@router.post("/logout")
def logout() -> Response:
    """Forget the token."""
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE)
    return answer


# Studies


@router.get("/")
def front(request: Request, who: Reader, archived: bool = False) -> Response:
    """Every study."""
    found = list_studies(request, who, limit=1000, archived=archived)
    return _page("studies.html", who=who, studies=found.studies, archived=archived)


@router.get("/new")
def new(who: Reader) -> Response:
    """A form to create a study."""
    return _page("new.html", who=who, example=EXAMPLE)


@router.get("/studies/{name}")
def show(request: Request, name: Name, who: Reader) -> Response:
    """One study: what it does, what it recommends, what it learned."""
    held = catalogue(request).held(name)
    found, why = _report(request, held)
    now = _live(held)
    figures = {**now.figures, **(figures_of(found) if found else {})}
    return _page(
        "study.html",
        who=who,
        held=held,
        live=now,
        page=found,
        why=why,
        figures=figures,
        exporters=EXPORTERS,
        may_work=who.scope.allows(Scope.work),
    )


@router.get("/studies/{name}/live")
def show_live(request: Request, name: Name, _: Reader) -> Response:
    """The part of the page that changes."""
    now = _live(catalogue(request).held(name))
    return _page("live.html", live=now, fresh=now.figures)


@router.get("/studies/{name}/what-if")
def what_if(request: Request, name: Name, who: Reader) -> Response:
    """Sliders for the weights, and what the surrogate says of them."""
    held = catalogue(request).held(name)
    return _page("what_if.html", who=who, held=held, phases=start_of(held.study.space))


def _live(held: Held) -> Live:
    study = held.study
    state = study.state()
    running = [r.trial.id for r in state.records if r.state == State.running]
    rungs = [o for trial in running[:100] for o in study.store.observations(study.id, trial)]
    return live(state, rungs, study.store.now())


def _report(request: Request, held: Held) -> tuple[Any, str]:
    """The newest report there is, and why there is none or no newer one."""
    known = catalogue(request)
    asked = known.ask(held, fits.page)
    if asked.done():
        try:
            return fits.answer_of(asked, "the report"), ""
        except MixoptError as error:
            return None, error.message
    return known.desk.newest(fits.page, held.ref), "It is being computed."
