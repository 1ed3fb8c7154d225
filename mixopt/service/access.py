"""Who may do what: bearer tokens and the dashboard's cookie, checked on every request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from mixopt.service.guards import Buckets
from mixopt.service.problems import Refused
from mixopt.study import Storage
from mixopt.study.storage.access_tokens import Scope, Token, list_tokens, valid_token
from mixopt.study.storage.audit import Act

COOKIE = "mixopt_token"
#: The caller of a server on loopback that has no tokens.
LOCAL = Token("local", Scope.admin, None, 0.0, None, None)
#: Wrong tokens that one address may send per minute.
WRONG_PER_MINUTE = 20

_bearer = HTTPBearer(auto_error=False, description="A token of `mixopt token create`.")


@dataclass(frozen=True)
class Caller:
    """Who sends a request, as far as it tells by itself.

    Attributes:
        secret: Of its token; None without one.
        address: Where it comes from.
    """

    secret: str | None
    address: str


class Gate:
    """Lets callers in.

    Args:
        store: Holds the tokens.
        local: Whether the server can be reached from this host alone; it then needs no token as
            long as there is none.
    """

    def __init__(self, store: Storage, local: bool) -> None:
        self._store = store
        self._local = local
        self._wrong = Buckets(rate=WRONG_PER_MINUTE / 60, most=WRONG_PER_MINUTE)

    def token_of(self, caller: Caller) -> Token:
        """Whose token it is that a caller has shown.

        Raises:
            Refused: With 401 if it is missing or holds no more, 429 after too many of these.
        """
        if not caller.secret:
            if self._local and not list_tokens(self._store):
                return LOCAL
            raise _unknown("this needs a token, and the request has none")
        if not self._wrong.left(caller.address):
            hint = "wait a minute"
            raise Refused(
                429, "too_many_requests", "too many wrong tokens", hint, {"Retry-After": "60"}
            )
        found = valid_token(self._store, caller.secret)
        if found is None:
            self._wrong.take(caller.address)
            raise _unknown("the token is unknown, has expired or was revoked")
        return found


def _unknown(detail: str) -> Refused:
    hint = "send Authorization: Bearer TOKEN; mixopt token create NAME makes one"
    return Refused(401, "unauthorized", detail, hint, {"WWW-Authenticate": "Bearer"})


def require(token: Token, scope: Scope, study: str | None) -> None:
    """Refuse what a token does not allow.

    Args:
        token: The caller's.
        scope: That is needed.
        study: Which the request is about; None for all.

    Raises:
        Refused: With 403.
    """
    if not token.scope.allows(scope):
        raise Refused(
            403,
            "forbidden",
            f"this needs a token of scope {scope}; that of {token.name!r} has {token.scope}",
            f"mixopt token create NAME --scope {scope}",
        )
    if token.study not in (None, study):
        raise Refused(
            403,
            "forbidden",
            f"the token of {token.name!r} is for the study {token.study!r} alone",
            "use another token",
        )


async def caller_of(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None,
) -> Caller:
    """A dependency that gives the caller, who has not been let in."""
    secret = bearer.credentials if bearer is not None else request.cookies.get(COOKIE)
    return Caller(secret, request.client.host if request.client else "")


Visitor = Annotated[Caller, Depends(caller_of)]


def needs(scope: Scope) -> Callable[..., Token]:
    """A dependency that gives the caller, who has this scope for the study of the path."""

    def check(request: Request, caller: Visitor) -> Token:
        gate: Gate = request.app.state.gate
        token = gate.token_of(caller)
        # Routes about no single study see to it themselves which ones they show.
        require(token, scope, request.path_params.get("name", token.study))
        return token

    return check


Reader = Annotated[Token, Depends(needs(Scope.read))]
Worker = Annotated[Token, Depends(needs(Scope.work))]
Admin = Annotated[Token, Depends(needs(Scope.admin))]


def act(token: Token, action: str, study: str | None = None, trial: str | None = None) -> Act:
    """What the audit log keeps of a request."""
    return Act(token.name, action, study, trial)
