"""Structured text that loads again in every YAML, JSON and Python parser."""

from __future__ import annotations

import json
import pprint
from typing import Any

import yaml


def yaml_text(data: Any, *comments: str) -> str:
    """YAML in the order given, under comment lines."""
    body = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
    return "".join(f"# {line}\n" for line in comments) + body


def json_text(data: Any) -> str:
    """Indented JSON."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def literal(value: Any) -> str:
    """A Python literal over as few lines as fit."""
    return pprint.pformat(value, width=96, sort_dicts=False)
