"""The file in which a benchmark keeps its studies, and from which it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_studies(path: Path | None) -> list[dict[str, Any]]:
    """The studies of a file; none where there is no file."""
    if path is None or not path.exists():
        return []
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["studies"]
    return found


def keep_studies(path: Path | None, studies: list[dict[str, Any]], **beside: Any) -> None:
    """Write studies, and what stands beside them, where a file is wanted."""
    if path is not None:
        text = json.dumps({**beside, "studies": studies})
        path.write_text(text + "\n", encoding="utf-8")
