"""Tokens of a service: who may do what, kept as digests only.

A token is 32 random bytes, so a plain SHA-256 of it cannot be searched back and needs no salt.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from mixopt.errors import ConflictError, NotFoundError
from mixopt.study.storage import clock
from mixopt.study.storage.schema import token_table as tokens
from mixopt.study.storage.storage import Storage


class Scope(StrEnum):
    """What a token allows; each scope holds those before it.

    Attributes:
        read: To look at studies and their answers.
        work: To ask for trials and tell their results.
        admin: To create, change and delete studies.
    """

    read = "read"
    work = "work"
    admin = "admin"

    def allows(self, wanted: Scope) -> bool:
        """Whether it holds another scope."""
        order = list(Scope)
        return order.index(self) >= order.index(wanted)


@dataclass(frozen=True)
class Token:
    """A token as stored; the secret itself is not.

    Attributes:
        name: Of its holder.
        scope: What it allows.
        study: The only study it is for; None for all.
        created: Seconds since the epoch.
        expires: Seconds since the epoch; None for never.
        revoked: Seconds since the epoch; None while it holds.
    """

    name: str
    scope: Scope
    study: str | None
    created: float
    expires: float | None
    revoked: float | None


def create_token(
    store: Storage,
    name: str,
    scope: Scope,
    *,
    study: str | None = None,
    seconds: float | None = None,
) -> str:
    """Add a token and return its secret, which is shown this once.

    Args:
        store: Of the service.
        name: Of its holder; the audit log names it.
        scope: What it allows.
        study: The only study it is for; None for all.
        seconds: How long it holds; None for ever.

    Raises:
        ConflictError: If there is a token of that name.
    """
    secret = f"mixopt_{secrets.token_urlsafe(32)}"
    with store.write() as c:
        now = clock.now(c)
        row = {
            "name": name,
            "digest": _digest(secret),
            "scope": scope.value,
            "study": study,
            "created": now,
            "expires": None if seconds is None else now + seconds,
        }
        try:
            with c.begin_nested():
                c.execute(insert(tokens).values(row))
        except IntegrityError:
            raise ConflictError(
                f"there is a token named {name!r} already",
                "take another name; a name stays taken so that the audit log stays plain",
            ) from None
    return secret


def list_tokens(store: Storage) -> list[Token]:
    """Every token, oldest first, those that hold no more included."""
    with store.read() as c:
        return [_token(row) for row in c.execute(select(tokens).order_by(tokens.c.id))]


def valid_token(store: Storage, secret: str) -> Token | None:
    """The token of a secret; None if there is none, or it has expired or was revoked."""
    with store.read() as c:
        query = select(tokens).where(tokens.c.digest == _digest(secret))
        row = c.execute(query).one_or_none()
        if row is None or row.revoked is not None:
            return None
        over = row.expires is not None and row.expires <= clock.now(c)
    return None if over else _token(row)


def revoke_token(store: Storage, name: str) -> None:
    """Let a token hold no more, from the next request on.

    Raises:
        NotFoundError: If there is none of that name.
    """
    with store.write() as c:
        mine = tokens.c.name == name
        if c.execute(select(tokens.c.id).where(mine)).first() is None:
            raise NotFoundError(f"there is no token named {name!r}", "see mixopt token list")
        still = update(tokens).where(mine, tokens.c.revoked.is_(None))
        c.execute(still.values(revoked=clock.now(c)))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _token(row: object) -> Token:
    known = {name: getattr(row, name) for name in Token.__dataclass_fields__}
    return Token(**{**known, "scope": Scope(known["scope"])})
