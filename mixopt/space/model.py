"""The base of every value a user writes, in Python or in YAML."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic._internal._model_construction import ModelMetaclass

from mixopt.errors import MixoptError, SpaceError


class _OneSentence(ModelMetaclass):
    """Calling a model raises ``SpaceError``; nested validation still collects places."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except ValidationError as error:
            raise as_space_error(error, cls.__name__) from None


class Frozen(BaseModel, metaclass=_OneSentence):
    """A value: unknown keys are refused and nothing can be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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
        return SpaceError(f"{at}: {cause.message}", cause.hint)
    return SpaceError(f"{at}: {_plain(first)}", _hint(first))


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
