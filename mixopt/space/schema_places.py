"""Places in a model's JSON Schema: which keys stand there, and what one may write."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import yaml
from pydantic import BaseModel

Node = dict[str, Any]


@cache
def places_of(model: type[BaseModel]) -> SchemaPlaces:
    """The places of a model, made once."""
    return SchemaPlaces(model)


class SchemaPlaces:
    """The JSON Schema of a model, to be walked by the places of a document.

    Args:
        model: Describes the document.
    """

    def __init__(self, model: type[BaseModel]) -> None:
        self.schema: Node = model.model_json_schema()
        self._parts: dict[str, Node] = self.schema.get("$defs", {})

    def at(self, place: Sequence[Any]) -> list[Node]:
        """Every node a place can stand for; parts that the schema has not are passed over."""
        nodes = self._branches(self.schema)
        for part in place:
            below = [b for n in nodes for found in _step(n, part) for b in self._branches(found)]
            nodes = below or nodes
        return nodes

    def keys(self, place: Sequence[Any]) -> list[str]:
        """The keys that may stand at a place."""
        return list(dict.fromkeys(k for n in self.at(place) for k in n.get("properties", {})))

    def _branches(self, node: Node) -> list[Node]:
        """A node without references and alternatives."""
        if "$ref" in node:
            target = self._parts[node["$ref"].rpartition("/")[2]]
            return self._branches({**target, **{k: v for k, v in node.items() if k != "$ref"}})
        choices = node.get("anyOf") or node.get("oneOf")
        if not choices:
            return [node]
        shared: Node = {k: node[k] for k in ("default", "examples") if k in node}
        return [{**b, **shared} for c in choices for b in self._branches(c)]

    def example(self, nodes: Sequence[Node]) -> Any:
        """Something that may be written at one of the nodes; None where nothing is known."""
        for key in ("examples", "default"):
            for node in nodes:
                found = node.get(key)
                if found not in (None, [], {}):
                    return found[0] if key == "examples" else found
        usable = [n for n in nodes if n.get("type") != "null"]
        return self._made_up(usable[0]) if usable else None

    def _made_up(self, node: Node) -> Any:
        if "const" in node or "enum" in node:
            return node.get("const", (node.get("enum") or [None])[0])
        kind = node.get("type")
        if kind in ("integer", "number"):
            return _number(node)
        if kind == "array":
            items = node.get("prefixItems") or [node.get("items", {})] * node.get("minItems", 1)
            return [self.example(self._branches(item)) for item in items]
        if kind == "object" and "properties" in node:
            wanted = node.get("required", [])
            return {k: self.example(self._branches(node["properties"][k])) for k in wanted}
        if kind == "object" and isinstance(node.get("additionalProperties"), dict):
            return {"NAME": self.example(self._branches(node["additionalProperties"]))}
        return {"string": "NAME", "boolean": True}.get(str(kind))

    def line(self, key: str, place: Sequence[Any]) -> str:
        """A key with something that may be written after it, as one line of YAML."""
        found = self.example(self.at(place))
        if found is None:
            return f"{key}: ..."
        text = yaml.safe_dump({key: found}, default_flow_style=True, sort_keys=False, width=10**6)
        return text.strip()[1:-1]


def _step(node: Node, part: Any) -> list[Node]:
    known = node.get("properties", {})
    if part in known:
        return [known[part]]
    inside = node.get("additionalProperties")
    if isinstance(part, str) and isinstance(inside, dict):
        return [inside]
    if isinstance(part, int) and part < len(node.get("prefixItems", [])):
        return [node["prefixItems"][part]]
    return [node["items"]] if isinstance(part, int) and "items" in node else []


def _number(node: Node) -> float:
    """A number within a node's limits."""
    low = node.get("minimum", node.get("exclusiveMinimum"))
    high = node.get("maximum", node.get("exclusiveMaximum"))
    if node["type"] == "integer":
        return int(node["minimum"]) if "minimum" in node else int((low or 0) + 1)
    if high is not None:
        return ((low or 0.0) + float(high)) / 2
    return float(low or 0) + 1.0
