"""JSON Schemas of the files a user writes, for editors: made from the models, and shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mixopt.corpus import CorpusSpec
from mixopt.export import schedule_json_schema, schedule_schema_path
from mixopt.space import SearchSpace
from mixopt.tune.study_file import StudyFile

FILES: dict[str, type[BaseModel]] = {
    "study": StudyFile,
    "space": SearchSpace,
    "corpus": CorpusSpec,
}
#: A number as people write it.
WRITTEN_NUMBER = {"type": "string", "pattern": r"^[+-]?[0-9_.]+([eE][+-]?[0-9]+)?[kKMBGT]?$"}


def schema_path(file: str) -> Path:
    """The shipped schema of a kind of file: ``study``, ``space`` or ``corpus``."""
    return Path(__file__).parents[1] / "schemas" / f"{file}.schema.json"


def file_schema(file: str) -> dict[str, Any]:
    """The JSON Schema of a kind of file, with the short forms that the readers take."""
    schema: dict[str, Any] = _widened(FILES[file].model_json_schema())
    if file == "study":
        for key in ("space", "corpus"):
            inline = schema["properties"][key]
            about = {"description": inline.pop("description")}
            schema["properties"][key] = about | {"anyOf": [{"type": "string"}, inline]}
    for part in (schema, *schema.get("$defs", {}).values()):
        if part.get("title") == "SearchSpace":
            listed = part["properties"]["domains"]
            named = {"type": "object", "additionalProperties": {"type": ["object", "null"]}}
            names = {"type": "array", "items": {"type": "string"}}
            about = {"description": listed.pop("description")}
            part["properties"]["domains"] = about | {"anyOf": [named, names, listed]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def write_schemas() -> None:
    """Write the shipped schemas anew, the one of exported schedules among them."""
    shipped = {schema_path(file): file_schema(file) for file in FILES}
    shipped[schedule_schema_path()] = schedule_json_schema()
    for path, schema in shipped.items():
        path.write_text(json.dumps(schema, indent=1) + "\n", encoding="utf-8")


def _widened(node: Any) -> Any:
    """A schema whose numbers may be written ``800B`` and whose lists of texts may be one text."""
    if isinstance(node, list):
        return [_widened(part) for part in node]
    if not isinstance(node, dict):
        return node
    found = {key: _widened(part) for key, part in node.items()}
    if node.get("type") in ("integer", "number"):
        kept = {k: found.pop(k) for k in ("title", "description", "default") if k in found}
        return {**kept, "anyOf": [found, WRITTEN_NUMBER]}
    if node.get("type") == "array" and node.get("items") == {"type": "string"}:
        kept = {k: found.pop(k) for k in ("title", "description", "default") if k in found}
        return {**kept, "anyOf": [found, {"type": "string"}]}
    return found
