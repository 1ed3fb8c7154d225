"""What is wrong with a document, in the words of its author instead of those of a validator."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import core_schema

from mixopt.errors import MixoptError, SpaceError
from mixopt.space.domain_tree import flattened
from mixopt.space.schema_places import SchemaPlaces, places_of

Fault = Mapping[str, Any]


@dataclass(frozen=True)
class Written:
    """Text of one form, for use in ``Annotated[str, Written(...)]``.

    Attributes:
        pattern: The whole text matches it.
        must: What must hold, from the verb on.
        example: Of such a text.
    """

    pattern: str
    must: str
    example: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        known: dict[str, Any] = handler(schema)
        return {**known, "pattern": f"^{self.pattern}$", "examples": [self.example]}

    def _check(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise SpaceError(f"{self.must}; got {text!r}", f"write, for example, {self.example}")
        return text


#: What must stand at a place, by the validator's word for what does not.
KINDS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "mapping_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "dataclass_type": "a mapping of keys to values",
}
#: Keys of the files that a study file holds, by the key that they stand under.
PARTS = {"domains": "space", "phases": "space", "context": "corpus", "tokenizer": "corpus"}
LIMITS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def as_space_error(
    error: ValidationError,
    model: type[BaseModel],
    data: Any,
    where: str,
    line: int | None = None,
) -> SpaceError:
    """The first complaint of a validation, as one sentence with its place and what to write.

    Args:
        error: Of the validation.
        model: What the data was to be.
        data: As its author wrote it.
        where: The file's or the model's name.
        line: In the file.
    """
    fault = first_fault(error, data)
    missing = fault["loc"][-1:] if fault["type"] == "missing" else ()
    fault = {**fault, "loc": (*_real(fault["loc"], data), *missing)}
    cause = fault.get("ctx", {}).get("error")
    place = place_in(data, fault["loc"])
    head = where if line is None else f"{where}, line {line}"
    if isinstance(cause, MixoptError):
        if line is None and not place:
            return SpaceError(cause.message, cause.hint)
        message, hint = cause.message, cause.hint
    else:
        message, hint = _explained(fault, places_of(model))
    at = f"{head}, {place}" if place else head
    return SpaceError(f"{at}: {message}", hint, place)


def first_fault(error: ValidationError, data: Any) -> Fault:
    """The first fault; of the faults of alternatives, that of the one its author meant.

    The alternative that was meant is the one that goes deepest into what was written, then one
    that takes such a value at all; where none does, all that may stand there are named.
    """
    faults = error.errors()
    first = faults[0]
    root = _shared(first["loc"], data)
    rivals = [f for f in faults if _shared(f["loc"], data)[: len(root)] == root]
    if len(rivals) == 1 or all(f["loc"] == first["loc"] for f in rivals):
        return first
    deepest = max(len(_real(f["loc"], data)) for f in rivals)
    deep = [f for f in rivals if len(_real(f["loc"], data)) == deepest]
    meant = [f for f in deep if f["type"] not in KINDS and f["type"] != "literal_error"]
    if meant and not (isinstance(first.get("input"), str) and len(deep) > len(meant)):
        return meant[0]
    return {**deep[0], "rivals": deep}


def _shared(loc: Sequence[Any], data: Any) -> tuple[Any, ...]:
    """The beginning of a place up to where the validator's own words start."""
    kept: list[Any] = []
    for part in loc:
        found, inside = _inside(data, part)
        if not found:
            break
        kept.append(part)
        data = inside
    return tuple(kept)


def _real(loc: Sequence[Any], data: Any) -> list[Any]:
    """The parts of a place that the data has; others are a validator's own words."""
    kept = []
    for part in loc:
        found, inside = _inside(data, part)
        if found:
            kept.append(part)
            data = inside
    return kept


def _inside(data: Any, part: Any) -> tuple[bool, Any]:
    """Whether data has a part, and what stands there."""
    if isinstance(data, Mapping) and part in data:
        return True, data[part]
    if isinstance(data, Mapping) and isinstance(part, int):
        entries = list(_entries(data).values())
        return (True, entries[part]) if part < len(entries) else (False, data)
    if isinstance(data, (list, tuple)) and isinstance(part, int) and part < len(data):
        return True, data[part]
    if isinstance(data, BaseModel) and isinstance(part, str) and hasattr(data, part):
        return True, getattr(data, part)
    return False, data


def _entries(data: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """A mapping that a model counts through: domains, or a tree of them."""
    try:
        return flattened(data)[0]
    except SpaceError:
        return data


def place_in(data: Any, loc: Sequence[Any]) -> str:
    """A place as its author sees it: entries of a list go by their names where they have one."""
    text = ""
    for part in loc:
        _, inside = _inside(data, part)
        if isinstance(part, int) and isinstance(data, Mapping):
            names = list(_entries(data))
            text += f".{names[part]}" if part < len(names) else f"[{part}]"
        elif isinstance(part, int):
            name = inside.get("name") if isinstance(inside, Mapping) else None
            text += f".{name}" if isinstance(name, str) and name else f"[{part}]"
        else:
            text += f".{part}"
        data = inside
    return text.removeprefix(".")


def shown(value: Any) -> str:
    """A value in a sentence, never longer than a line."""
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    text = repr(value) if isinstance(value, (str, int, float, list, tuple, dict)) else ""
    if 0 < len(text) <= 80:
        return text
    if isinstance(value, str):
        return f"{value[:60]!r} and more"
    if isinstance(value, Mapping):
        return f"keys and values ({', '.join(map(str, list(value)[:3]))}, ...)"
    return f"a {'list' if isinstance(value, (list, tuple)) else type(value).__name__}"


def _explained(fault: Fault, places: SchemaPlaces) -> tuple[str, str]:
    """What is wrong, and what to write."""
    kind, loc = fault["type"], fault["loc"]
    if kind == "extra_forbidden":
        return _unknown_key(str(loc[-1]), places.keys(loc[:-1]))
    if kind in ("missing", "union_tag_not_found"):
        return _missing(fault, places)
    if kind == "union_tag_invalid":
        tag = fault["ctx"]["discriminator"].strip("'")
        wanted = fault["ctx"]["expected_tags"].replace("'", "").split(", ")
        return _choice(f"{tag} must be", wanted, fault["ctx"]["tag"])
    return _wrong_value(fault, places)


def _missing(fault: Fault, places: SchemaPlaces) -> tuple[str, str]:
    loc = fault["loc"]
    if "discriminator" in fault.get("ctx", {}):
        loc = (*loc, fault["ctx"]["discriminator"].strip("'"))
    if isinstance(loc[-1], int):
        return "must hold more entries", f"write `{places.line(str(loc[-2]), loc[:-1])}`"
    return f"the key {loc[-1]!r} is required", f"add `{places.line(str(loc[-1]), loc)}`"


def _wrong_value(fault: Fault, places: SchemaPlaces) -> tuple[str, str]:
    rivals, loc = fault.get("rivals", [fault]), fault["loc"]
    wanted = list(dict.fromkeys(w for f in rivals for w in _wanted(f)))
    if any(f["type"] == "literal_error" for f in rivals):
        return _choice("must be", wanted, fault["input"])
    must = f"must be {' or '.join(wanted)}" if wanted else _message(fault)
    key = next((str(p) for p in reversed(loc) if isinstance(p, str)), "")
    return f"{must}; got {shown(fault['input'])}", _written(key, fault, places)


def _unknown_key(key: str, known: Sequence[str]) -> tuple[str, str]:
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"the keys here are {', '.join(known)}"
    if key in PARTS and PARTS[key] in known:
        hint = f"it belongs under `{PARTS[key]}`"
    elif key == "space" and "objective" not in known:
        hint = "this is a study file, which holds a space and a corpus: give the file of one"
    return f"unknown key {key!r}", hint if known else "leave it out"


def _choice(must: str, wanted: Sequence[str], given: Any) -> tuple[str, str]:
    close = difflib.get_close_matches(str(given), wanted, n=1, cutoff=0.5)
    names = " or ".join(wanted) if len(wanted) < 3 else f"one of {', '.join(wanted)}"
    hint = f"did you mean {close[0]!r}?" if close else f"write {wanted[0]}"
    return f"{must} {names}; got {shown(given)}", hint


def _wanted(fault: Fault) -> list[str]:
    """What may stand at a place, as nouns; none where that is not what is wrong."""
    if fault["type"] == "literal_error":
        return str(fault["ctx"]["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
    return [KINDS[fault["type"]]] if fault["type"] in KINDS else []


def _message(fault: Fault) -> str:
    """A sentence without a validator's words."""
    kind, facts = fault["type"], fault.get("ctx", {})
    if kind in LIMITS:
        key, words = LIMITS[kind]
        return f"must be {words} {facts[key]:g}"
    if kind in ("too_short", "too_long"):
        most = kind == "too_long"
        limit = facts["max_length"] if most else facts["min_length"]
        given = facts["actual_length"]
        few = f"must hold {'at most' if most else 'at least'} {limit} "
        return f"{few}{'entry' if limit == 1 else 'entries'}, not {given}"
    if kind == "string_too_short":
        return "must not be empty"
    return str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input should ")


def _written(key: str, fault: Fault, places: SchemaPlaces) -> str:
    """What to write at a place."""
    if fault["type"] == "string_type" and isinstance(fault["input"], (int, float, bool)):
        return f'put it in quotes: "{fault["input"]}"'
    return f"write, for example, `{places.line(key, fault['loc'])}`" if key else "see the example"
