"""Verbs about the service: serve, worker, token."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from mixopt.cli.app import Json, app, emit, say

if TYPE_CHECKING:
    from mixopt.study.storage.access_tokens import Token

token_app = App(name="token", help="Say who may use a service.")
app.command(token_app)

Kept = Annotated[
    str,
    Parameter(name="--storage", env_var="MIXOPT_STORAGE", help="Database URL of the service."),
]
Server = Annotated[str, Parameter(env_var="MIXOPT_SERVER", help="URL of the service.")]
Secret = Annotated[str | None, Parameter(env_var="MIXOPT_TOKEN", help="Token of the service.")]
STORAGE = "sqlite:///mixopt.db"


@app.command
def serve(
    *,
    storage: Kept = STORAGE,
    host: str = "127.0.0.1",
    port: int = 8417,
    allow_host: Annotated[list[str] | None, Parameter(name="--allow-host")] = None,
    processes: int = 1,
    rate: float = 1000.0,
) -> None:
    """Serve the studies of a storage over HTTP, with a dashboard.

    Args:
        storage: Database URL.
        host: Address to listen on; others than loopback need a token.
        port: Port to listen on.
        allow_host: Name under which clients ask, where it is not the address; may be repeated.
        processes: How many fits are made at once.
        rate: Requests per second and client, over a while.
    """
    from mixopt.service.guards import Limits
    from mixopt.service.serve import serve as start

    say(f"mixopt serves {host}:{port}")
    limits = Limits(rate=rate, burst=2 * rate)
    names = frozenset(allow_host or ())
    start(storage, host, port, allowed=names, limits=limits, processes=processes)


@app.command
def worker(
    *,
    server: Server,
    study: str,
    command: str,
    token: Secret = None,
    trials: int | None = None,
    timeout: float | None = None,
    lease_seconds: float = 600.0,
    logs: Path | None = None,
) -> None:
    """Run the trials of a served study on this machine until its search is over.

    Args:
        server: URL of the service.
        study: Name of the study.
        command: What trains; {schedule}, {out} and {seed} stand for the trial's files and seed.
        token: Of scope work.
        trials: Trials after which the worker ends.
        timeout: Seconds after which a trial has failed.
        lease_seconds: How long the service waits for a sign of life.
        logs: Folder that keeps the command's output.
    """
    from mixopt.service.client import connect
    from mixopt.service.worker import PATIENCE, work
    from mixopt.study import CommandTrainer

    held = connect(server, token, patience=PATIENCE).study(study)
    trainer = CommandTrainer(command, timeout=timeout, logs=logs)
    why = work(held, trainer, say=say, most=trials, lease_seconds=lease_seconds, logs=logs)
    say(f"stopped: {why}")


@token_app.command(name="create")
def create_token(
    name: str,
    /,
    *,
    scope: Literal["read", "work", "admin"] = "read",
    study: str | None = None,
    days: float | None = 365.0,
    storage: Kept = STORAGE,
) -> None:
    """Make a token and print it; it is shown this once.

    Args:
        name: Of its holder.
        scope: ``read``, ``work`` (ask and tell too) or ``admin`` (make and delete studies too).
        study: The only study it is for.
        days: How long it holds.
        storage: Database URL.
    """
    from mixopt.study import Storage
    from mixopt.study.storage import access_tokens as tokens

    seconds = None if days is None else days * 86400
    store = Storage(storage)
    print(tokens.create_token(store, name, tokens.Scope(scope), study=study, seconds=seconds))


@token_app.command(name="list")
def list_tokens(*, storage: Kept = STORAGE, json: Json = False) -> None:
    """List tokens, without their secrets.

    Args:
        storage: Database URL.
        json: Print JSON.
    """
    from mixopt.report.components import Table
    from mixopt.study import Storage
    from mixopt.study.storage import access_tokens as tokens

    found = tokens.list_tokens(Storage(storage, create=False))
    rows = tuple((t.name, t.scope, t.study or "all", _until(t)) for t in found)
    columns = ("name", "scope", "studies", "holds")
    table = Table("Tokens", columns, rows, text=frozenset({1, 2, 3}))
    emit([asdict(t) for t in found], json, table)


def _until(token: Token) -> str:
    import time

    expires, revoked = token.expires, token.revoked
    if revoked is not None:
        return "revoked"
    if expires is None:
        return "for ever"
    day = time.strftime("%Y-%m-%d", time.localtime(expires))
    return f"until {day}" if expires > time.time() else f"expired on {day}"


@token_app.command(name="revoke")
def revoke_token(name: str, /, *, storage: Kept = STORAGE) -> None:
    """Let a token hold no more, from the next request on.

    Args:
        name: Of its holder.
        storage: Database URL.
    """
    from mixopt.study import Storage
    from mixopt.study.storage import access_tokens as tokens

    tokens.revoke_token(Storage(storage, create=False), name)


@token_app.command(name="log")
def show_log(*, limit: int = 100, storage: Kept = STORAGE, json: Json = False) -> None:
    """Show what was written for whom, the newest first.

    Args:
        limit: At most so many lines.
        storage: Database URL.
        json: Print JSON on stdout.
    """
    import time

    from mixopt.report.components import Table
    from mixopt.study import Storage
    from mixopt.study.storage import audit

    with Storage(storage, create=False).read() as c:
        found = audit.read(c, limit)
    rows = tuple(
        (
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(a["time"])),
            a["who"],
            a["action"],
            a["study"] or "",
            a["trial"] or "",
        )
        for a in found
    )
    columns = ("time", "who", "action", "study", "trial")
    emit(found, json, Table("Writes", columns, rows, text=frozenset({1, 2, 3, 4})))
