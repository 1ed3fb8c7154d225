"""The base of every value a user writes, in Python or in YAML."""

from __future__ import annotations

import inspect
import re
from functools import wraps
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from mixopt.errors import SpaceError
from mixopt.space.complaints import as_space_error
from mixopt.space.written_numbers import as_numbers


def describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Put what a model's docstring says of its keys into its JSON Schema."""
    about, _, rest = (inspect.getdoc(model) or "").partition("\nAttributes:\n")
    schema["description"] = " ".join(about.split("\nRaises:")[0].split())
    for name, text in re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", rest, re.MULTILINE):
        if name in schema.get("properties", {}):
            schema["properties"][name]["description"] = " ".join(text.split())


class Frozen(BaseModel):
    """A value: unknown keys are refused and nothing can be changed.

    Raises:
        SpaceError: If the values given are not allowed; names the first key that is wrong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=describe)

    # As a wrapper of pydantic's own, it is passed over where a value is validated inside another
    # one: the places of what is wrong there are places in the whole.
    @wraps(BaseModel.__init__)  # type: ignore[misc]
    def __init__(self, /, *args: Any, **data: Any) -> None:
        if args:
            name, fields = type(self).__name__, list(type(self).model_fields)
            raise SpaceError(
                f"{name} takes its values by name; got {len(args)} without one",
                f"write {name}({fields[0]}=...)",
            )
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise as_space_error(error, type(self), data, type(self).__name__) from None

    @field_validator("*", mode="before")
    @classmethod
    def _as_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        return as_numbers(value, cls, str(info.field_name))
