"""Numbers as people write them: ``1e9``, ``800B``, ``1.5M``, ``1_000``; never ``true``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel

from mixopt.errors import SpaceError

_WRITTEN = re.compile(r"\s*([+-]?[\d_]*\.?\d[\d_]*(?:[eE][+-]?\d+)?)\s*([kKMBGT]?)\s*")
_TIMES = {"": 0, "k": 3, "K": 3, "M": 6, "B": 9, "G": 9, "T": 12}


def read_number(text: str) -> int | float | None:
    """The number a text stands for, whole where it can be; None where it is none.

    K, M, B (or G) and T stand for thousand, million, billion and trillion.
    """
    found = _WRITTEN.fullmatch(text)
    if found is None:
        return None
    try:
        # The decimal exponent is put into the text: 1.1B must be exactly 1_100_000_000.
        digits, _, exponent = found[1].replace("_", "").lower().partition("e")
        value = float(f"{digits}e{int(exponent or 0) + _TIMES[found[2]]}")
    except (ValueError, OverflowError):
        return None
    return int(value) if value.is_integer() and abs(value) < 2**63 else value


def as_numbers(value: Any, model: type[BaseModel], field: str) -> Any:
    """A field's value with its numbers read, where the field takes numbers.

    Raises:
        SpaceError: If it is true or false, which are no numbers.
    """
    kinds = _kinds(model, field)
    if not kinds & {int, float} or kinds & {bool, Any}:
        return value
    return _read(value, text=str in kinds)


def _read(value: Any, text: bool) -> Any:
    if isinstance(value, bool):
        raise SpaceError(
            f"must be a number; got {str(value).lower()}", "write a number, without quotes"
        )
    if isinstance(value, str) and not text:
        number = read_number(value)
        return value if number is None else number
    if isinstance(value, Mapping) and type(value) is dict:
        return {k: _read(v, text=False) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_read(v, text) for v in value]
    return value


@cache
def _kinds(model: type[BaseModel], field: str) -> frozenset[Any]:
    """The plain types that a field's annotation is made of; those inside models are not its own."""
    return frozenset(_leaves(model.model_fields[field].annotation))


def _leaves(annotation: Any) -> list[Any]:
    parts = get_args(annotation)
    if not parts:
        return [annotation]
    return [leaf for part in parts for leaf in _leaves(part)]
