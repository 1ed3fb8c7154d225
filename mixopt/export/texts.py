"""Structured text that loads again in every YAML and JSON parser."""

from __future__ import annotations

import json
from typing import Any

import yaml


def yaml_text(data: Any, *comments: str) -> str:
    """YAML in the order given, under comment lines."""
    body = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
    return "".join(f"# {line}\n" for line in comments) + body


def json_text(data: Any) -> str:
    """Indented JSON."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
