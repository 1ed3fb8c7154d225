"""The base of every value a user writes, in Python or in YAML."""

from __future__ import annotations

from functools import wraps
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from mixopt.errors import MixoptError, SpaceError


class Frozen(BaseModel):
    """A value: unknown keys are refused and nothing can be changed.

    Raises:
        SpaceError: If the values given are not allowed; names the first key that is wrong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # As a wrapper of pydantic's own, it is passed over where a value is validated inside another
    # one: the places of what is wrong there are places in the whole.
    @wraps(BaseModel.__init__)  # type: ignore[misc]
    def __init__(self, /, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise as_space_error(error, type(self).__name__) from None


def as_space_error(error: ValidationError, where: str, line: int | None = None) -> SpaceError:
    """The first complaint of a validation, as one sentence with its place and a hint."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    cause = first.get("ctx", {}).get("error")
    head = where if line is None else f"{where}, line {line}"
    at = f"{head}, {place}" if place else head
    if isinstance(cause, MixoptError) and line is None and not place:
        return SpaceError(cause.message, cause.hint)
    if isinstance(cause, MixoptError):
        return SpaceError(f"{at}: {cause.message}", cause.hint, place)
    return SpaceError(f"{at}: {_plain(first)}", _hint(first), place)


def _plain(first: Any) -> str:
    if first["type"] == "extra_forbidden":
        return f"unknown key {first['loc'][-1]!r}"
    if first["type"] == "missing":
        return f"the key {first['loc'][-1]!r} is required"
    message = str(first["msg"]).removeprefix("Value error, ")
    given = first.get("input")
    shown = f"; got {given!r}" if isinstance(given, str | int | float | bool | None) else ""
    return message[0].lower() + message[1:] + shown


def _hint(first: Any) -> str:
    if first["type"] == "extra_forbidden":
        return "check its spelling and its indentation"
    return "see the file's schema in the documentation"
