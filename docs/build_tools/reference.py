"""Pages of the reference, made from the code they describe; nothing in them is written by hand."""

import inspect
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mixopt
from mixopt import errors

FILES = {
    "space": "Keys of a search-space file",
    "corpus": "Keys of a corpus file",
    "study": "Keys of a study file",
}
Node = dict[str, Any]


def cell(text: str) -> str:
    """Text as it stands in a table; docstrings mark code with two backquotes."""
    return text.replace("``", "`").replace("|", "\\|").replace("\n", " ")


def kind(node: Node) -> str:
    """What may be written at a place."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        return f"[{name}](#key-{name.lower()})"
    choices = node.get("anyOf") or node.get("oneOf")
    if choices:
        return " or ".join(dict.fromkeys(map(kind, choices)))
    if "const" in node or "enum" in node:
        return ", ".join(f"`{value}`" for value in node.get("enum", [node.get("const")]))
    if node.get("type") == "array":
        return f"list of: {kind(node.get('items') or {'anyOf': node.get('prefixItems', [])})}"
    if node.get("type") == "object":
        inner = node.get("additionalProperties")
        return f"names with: {kind(inner) if isinstance(inner, dict) else 'anything'}"
    words = {"string": "text", "integer": "whole number", "null": "none", "boolean": "true, false"}
    return words.get(node.get("type", ""), node.get("type", "anything")) + limits(node)


def spelled_out(node: Any, parts: Node) -> Any:
    """A schema whose references to lists of values are these values."""
    if isinstance(node, list):
        return [spelled_out(part, parts) for part in node]
    if not isinstance(node, dict):
        return node
    target = parts.get(str(node.get("$ref", "")).rpartition("/")[2], {})
    if "enum" in target:
        return {**target, **{k: v for k, v in node.items() if k != "$ref"}}
    return {key: spelled_out(part, parts) for key, part in node.items()}


def limits(node: Node) -> str:
    """What a number must be."""
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {node[key]:g}" for key, sign in signs.items() if key in node]
    return f" {', '.join(found)}" if found else ""


def written(value: Any) -> str:
    """A default or an example as one line of YAML would have it."""
    text = json.dumps(value, ensure_ascii=False).replace('"', "").replace("null", "none")
    return f"`{text}`" if len(text) <= 60 else "its own defaults"


def keys_of(node: Node) -> Iterator[str]:
    """A table of the keys of one model."""
    yield "| key | takes | default | meaning |\n| --- | --- | --- | --- |"
    required = node.get("required", [])
    for name, part in node.get("properties", {}).items():
        default = "**required**" if name in required else written(part.get("default"))
        about = cell(part.get("description", ""))
        if part.get("examples"):
            about += f" Example: {written(part['examples'][0])}."
        yield f"| `{name}` | {cell(kind(part))} | {cell(default)} | {about} |"


def file_pages() -> Iterator[tuple[str, str]]:
    """One page per kind of file; a part that several share stands on the first."""
    from mixopt.tune.file_schemas import FILES as MODELS

    told: set[str] = set()
    for file, title in FILES.items():
        schema = MODELS[file].model_json_schema()
        schema = spelled_out(schema, schema.get("$defs", {}))
        parts = {schema["title"]: schema, **schema.get("$defs", {})}
        lines = [f"# {title}\n", FILE_NOTE.format(file=file)]
        for name, node in parts.items():
            if name in told or "properties" not in node:
                continue
            told.add(name)
            lines += [f"\n(key-{name.lower()})=\n## {name}\n", cell(node.get("description", ""))]
            lines += ["", *keys_of(node)]
        yield f"{file}-file", "\n".join(lines)


FILE_NOTE = (
    "Made from the models that read the file. An editor that knows YAML schemas helps while you "
    "write: `mixopt init` names the schema in the first line of a study file, and "
    "`mixopt/schemas/{file}.schema.json` of the installed package is it. Numbers may be written "
    "`1e9`, `800B` or `1_000_000`, and a list of one text as that text. A key that is not listed "
    "is refused, with its line."
)


def cli_page() -> str:
    """Every verb with its options, from what ``--help`` prints."""
    from mixopt.cli import app

    text = app.generate_docs(output_format="markdown", heading_level=1)
    text = re.sub(r"## Table of Contents\n.*?(?=\*\*Commands\*\*)", "", text, flags=re.DOTALL)
    text = re.sub(r", --(no|empty)-[\w-]+", "", text)
    head = "# Command line\n\nResults go to stdout, progress and advice to stderr. Exit codes: 0 "
    head += "done, 1 an error that its message explains, 2 a command that cannot be read, 3 with "
    head += "`--strict` where the recommendation is not shown to be better than the baseline.\n"
    return head + text.partition("\n")[2]


def http_page() -> str:
    """Every route, from the OpenAPI document that the server answers with."""
    from mixopt.service.application import create_app
    from mixopt.service.codes import KINDS

    with tempfile.TemporaryDirectory() as folder:
        app = create_app(f"sqlite:///{folder}/studies.db")
        api = app.openapi()
    api = spelled_out(api, api["components"]["schemas"])
    lines = ["# HTTP API\n", "From the server's own `/openapi.json`.\n"]
    lines += [
        "| method | route | what it does | body | answer |",
        "| --- | --- | --- | --- | --- |",
    ]
    for route, methods in sorted(api["paths"].items()):
        for method, what in methods.items():
            lines.append(f"| {method.upper()} | `{route}` | {' | '.join(_told(what))} |")
    lines += [
        "\n(problem-codes)=\n## Codes of problems\n",
        "| status | code | meaning |",
        "| --- | --- | --- |",
    ]
    for error, status, code in KINDS:
        lines.append(f"| {status} | `{code}` | {cell(first_line(error))} |")
    for name, node in sorted(api["components"]["schemas"].items()):
        if "properties" in node and name.isidentifier() and name not in _known_parts():
            lines += [f"\n(key-{name.lower()})=\n## {name}\n", first_paragraph(node), ""]
            lines += keys_of(node)
    return "\n".join(lines)


def _known_parts() -> set[str]:
    from mixopt.tune.file_schemas import FILES as MODELS

    schemas = [model.model_json_schema() for model in MODELS.values()]
    return {name for schema in schemas for name in (schema["title"], *schema.get("$defs", {}))}


def _told(what: Node) -> list[str]:
    about = cell(what.get("description") or what.get("summary", "")).split(". ")[0].rstrip(".")
    body = what.get("requestBody", {}).get("content", {}).values()
    good = [a for code, a in what.get("responses", {}).items() if code.startswith("2")]
    answers = [c for a in good for c in a.get("content", {}).values()]
    shown = [[kind(c["schema"]) for c in part if c.get("schema")] for part in (body, answers)]
    return [about, *(cell(", ".join(dict.fromkeys(part))) for part in shown)]


def first_paragraph(node: Node) -> str:
    """What a model is, without its attributes."""
    return cell(node.get("description", "").partition("\n\n")[0])


def first_line(thing: object) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def errors_page() -> str:
    """The classes of errors, and how a message is built."""
    lines = [
        "# Errors\n",
        "A message is one sentence with what must hold and what was given, and a hint with the "
        "next step. In Python both stand in `error.message` and `error.hint`; the command prints "
        "them on stderr and ends with code 1; the service sends them as a problem document with a "
        "[code](#problem-codes).\n",
        "| class | raised when | is also |",
        "| --- | --- | --- |",
    ]
    found = [e for e in vars(errors).values() if inspect.isclass(e)]
    for error in found:
        bases = ", ".join(f"`{base.__name__}`" for base in error.__bases__)
        lines.append(f"| `{error.__name__}` | {cell(first_line(error))} | {bases} |")
    return "\n".join(lines)


def python_page() -> str:
    """Everything that ``import mixopt`` gives."""
    lines = ["# Python API\n", "`import mixopt` loads none of it before it is used.\n"]
    for name in mixopt.__all__:
        thing = getattr(mixopt, name)
        directive = "autoclass" if inspect.isclass(thing) else "autofunction"
        lines += [f"## {name}\n", "```{eval-rst}", f".. {directive}:: mixopt.{name}", "```\n"]
    return "\n".join(lines)


def changelog_page() -> str:
    """The changelog of the project."""
    return (Path(mixopt.__file__).parents[1] / "CHANGELOG.md").read_text(encoding="utf-8")


def write_pages(app: Any) -> None:
    """Write all pages; one that did not change keeps its time, so that it is not read again."""
    folder = Path(app.srcdir) / "reference"
    pages = dict(file_pages()) | {
        "cli": cli_page(),
        "http": http_page(),
        "errors": errors_page(),
        "python": python_page(),
        "changelog": changelog_page(),
    }
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Any) -> Node:
    """Make the pages before anything is read."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}
