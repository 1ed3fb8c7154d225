"""Reading YAML so that an error can name the line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from mixopt.errors import SpaceError
from mixopt.space.model import as_space_error

M = TypeVar("M", bound=BaseModel)


def load_yaml(path: str | Path) -> tuple[Any, yaml.Node]:
    """Parse a YAML file.

    Returns:
        Its data and its syntax tree (for line numbers).

    Raises:
        SpaceError: If it cannot be read, is not YAML, holds a key twice or is not a mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpaceError(f"{path} cannot be read: {error}", "check the path") from None
    return parse_yaml(text, path)


def parse_yaml(text: str, path: str | Path) -> tuple[Any, yaml.Node]:
    """Parse the text of a YAML file; ``path`` is what errors call it.

    Raises:
        SpaceError: If it is not YAML, holds a key twice or is not a mapping.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpaceError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict) or node is None:
        raise SpaceError(f"{path} must hold a mapping at its top; got {type(data).__name__}")
    _refuse_twice(node, path)
    return data, node


def validate_yaml(model: type[M], path: str | Path) -> M:
    """Read a YAML file as a model.

    Raises:
        SpaceError: With the file, line and key of the first thing that is wrong.
    """
    data, node = load_yaml(path)
    return validate_node(model, data, node, path)


def validate_node(model: type[M], data: Any, node: yaml.Node, path: str | Path) -> M:
    """Validate parsed data as a model, naming the line of what is wrong."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        loc = error.errors()[0]["loc"]
        raised = as_space_error(error, str(path), line_of(node, loc))
        if error.errors()[0]["type"] == "extra_forbidden":
            raised = _suggest(raised, str(loc[-1]), model)
        raise raised from None


def line_of(node: yaml.Node, loc: Sequence[Any]) -> int:
    """The line (from 1) of the deepest part of a place that the file really has."""
    line = node.start_mark.line + 1
    for part in loc:
        found: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if str(key.value) == str(part):
                    found, line = value, key.start_mark.line + 1
            if found is None and isinstance(part, int):
                # Domains may be written as a mapping, or a tree of them; a model counts them.
                entries = list(_entries(node))
                if part < len(entries):
                    key, found = entries[part]
                    line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            if part < len(node.value):
                found = node.value[part]
                line = found.start_mark.line + 1
        if found is not None:
            node = found
    return line


def _entries(node: yaml.MappingNode) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Keys and values of a mapping, and those under ``domains:`` in place of an inner node."""
    for key, value in node.value:
        inner = [
            v
            for k, v in (value.value if isinstance(value, yaml.MappingNode) else ())
            if k.value == "domains" and isinstance(v, yaml.MappingNode)
        ]
        if inner:
            yield from _entries(inner[0])
        else:
            yield key, value


def _refuse_twice(node: yaml.Node, path: str | Path) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                raise SpaceError(
                    f"{path}, line {line}: the key {name!r} stands twice (first on line "
                    f"{seen[name]})",
                    "remove one of them",
                )
            seen[name] = line
            _refuse_twice(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_twice(item, path)


def _suggest(raised: SpaceError, key: str, model: type[BaseModel]) -> SpaceError:
    known = _all_fields(model)
    close = difflib.get_close_matches(key, sorted(known), n=1)
    hint = f"did you mean {close[0]!r}?" if close else raised.hint
    return SpaceError(raised.message, hint, raised.field)


def _all_fields(model: type[BaseModel]) -> set[str]:
    schema = model.model_json_schema()
    names = set(schema.get("properties", {}))
    for part in schema.get("$defs", {}).values():
        names |= set(part.get("properties", {}))
    return names
