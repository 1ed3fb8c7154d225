"""Reading YAML so that an error can name the line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from mixopt.errors import SpaceError
from mixopt.space.complaints import as_space_error, first_fault, shown

M = TypeVar("M", bound=BaseModel)

NOT_FINITE = (".nan", ".inf")


def load_yaml(path: str | Path) -> tuple[Any, yaml.Node]:
    """Parse a YAML file.

    Returns:
        Its data and its syntax tree (for line numbers).

    Raises:
        SpaceError: If it cannot be read, is not YAML, holds a key twice or is not a mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise SpaceError(f"{path} cannot be read: {reason}", "check the path") from None
    except UnicodeDecodeError:
        raise SpaceError(
            f"{path} cannot be read: it is not UTF-8 text", "save it as UTF-8, or check the path"
        ) from None
    return parse_yaml(text, path)


def parse_yaml(text: str, path: str | Path) -> tuple[Any, yaml.Node]:
    """Parse the text of a YAML file; ``path`` is what errors call it.

    Raises:
        SpaceError: If it is not YAML, holds a key twice or is not a mapping.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split()).replace('in "<unicode string>", ', "in ")
        raise SpaceError(
            f"{path} is not YAML: {reason}",
            "mind the colons, the quotes and the indentation of that line",
        ) from None
    except RecursionError:
        raise SpaceError(f"{path} is nested too deeply to be read", "nest it less") from None
    if not isinstance(data, dict) or node is None:
        raise SpaceError(
            f"{path} must hold keys and values at its top; got {shown(data)}",
            "write `name: ...` and the other keys, one per line",
        )
    _check_node(node, path, ())
    return data, node


def validate_yaml(model: type[M], path: str | Path) -> M:
    """Read a YAML file as a model.

    Raises:
        SpaceError: With the file, line and key of the first thing that is wrong.
    """
    data, node = load_yaml(path)
    return validate_node(model, data, node, path)


def validate_node(
    model: type[M],
    data: Any,
    node: yaml.Node,
    path: str | Path,
    context: dict[str, str] | None = None,
) -> M:
    """Validate parsed data as a model, naming the line of what is wrong."""
    try:
        return model.model_validate(data, context=context)
    except ValidationError as error:
        line = line_of(node, first_fault(error, data)["loc"])
        raise as_space_error(error, model, data, str(path), line) from None


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


def _check_node(node: yaml.Node, path: str | Path, above: tuple[yaml.Node, ...]) -> None:
    """Refuse a key that stands twice, an anchor inside itself and numbers that are not finite."""
    line = node.start_mark.line + 1
    if any(node is other for other in above):
        raise SpaceError(
            f"{path}, line {line}: the anchor refers to itself", "write out what is meant"
        )
    if node.tag == "tag:yaml.org,2002:float" and node.value.lower().lstrip("+-") in NOT_FINITE:
        raise SpaceError(
            f"{path}, line {line}: a number must be finite; got {node.value}",
            "leave the key out where there is no limit",
        )
    above = (*above, node)
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
            _check_node(value, path, above)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_node(item, path, above)
