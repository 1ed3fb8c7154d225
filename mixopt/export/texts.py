"""Structured text that loads again in every YAML, JSON and Python parser."""

from __future__ import annotations

import json
import pprint
from typing import Any

import yaml

from mixopt.export.export_plan import ExportPlan


def yaml_text(data: Any, *comments: str) -> str:
    """YAML in the order given, under comment lines."""
    body = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
    return "".join(f"# {line}\n" for line in comments) + body


def json_text(data: Any) -> str:
    """Indented JSON."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def phase_script(template: str, plan: ExportPlan, phases: list[dict[str, Any]], **more: Any) -> str:
    """A script with the plan's sequence length and seed, its sources and its phases filled in."""
    return template.format(
        length=plan.sequence_length,
        seed=plan.seed,
        sources=literal({name: plan.paths[name] for name in plan.domains}),
        phases=literal(phases),
        **more,
    )


def literal(value: Any) -> str:
    """A Python literal over as few lines as fit."""
    return pprint.pformat(value, width=96, sort_dicts=False)
