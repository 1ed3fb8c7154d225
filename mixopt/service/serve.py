"""Starting the server: where it listens, and that it does not listen to strangers."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import uvicorn

from mixopt.errors import StudyError
from mixopt.service.application import create_app
from mixopt.service.guards import LOOPBACK, Limits
from mixopt.study import Storage
from mixopt.study.storage.access_tokens import list_tokens


def is_local(host: str) -> bool:
    """Whether an address can be reached from its own host alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(
    storage: str,
    host: str,
    port: int,
    *,
    allowed: frozenset[str] = frozenset(),
    limits: Limits | None = None,
    processes: int = 1,
) -> None:
    """Answer requests until the process is told to stop.

    Args:
        storage: URL of the database.
        host: Address to listen on.
        port: Port to listen on; 0 for any that is free.
        allowed: Further names under which the server is asked, behind a proxy say.
        limits: What a client may send.
        processes: How many fits are made at once.

    Raises:
        StudyError: If others can reach the address and no token has been made.
    """
    local = is_local(host)
    if not local:
        _require_token(storage, host)
    # Under other addresses the names are those of a proxy or of the network: any, unless given.
    hosts = (LOOPBACK | allowed) if local or allowed else None
    app = create_app(
        storage, local=local, limits=replace(limits or Limits(), hosts=hosts), processes=processes
    )
    uvicorn.run(app, host=host, port=port, log_level="warning", server_header=False)


def _require_token(storage: str, host: str) -> None:
    store = Storage(storage)
    made = list_tokens(store)
    store.close()
    if not made:
        raise StudyError(
            f"others can reach {host}, so the service needs a token there; it has none",
            "mixopt token create NAME --scope admin, or --host 127.0.0.1",
        )
