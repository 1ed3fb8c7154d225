"""The search spaces that come with mixopt."""

from __future__ import annotations

import difflib
from pathlib import Path

from mixopt.errors import SpaceError


def _folders() -> list[Path]:
    package = Path(__file__).resolve().parents[1]
    # A wheel carries the folder inside the package; an editable install finds it beside it.
    return [package / "search_spaces", package.parent / "search_spaces"]


def _spaces() -> dict[str, Path]:
    for folder in _folders():
        found = {
            path.stem: path
            for path in sorted(folder.glob("*.yaml"))
            # Corpus specifications lie in the same folder.
            if not path.stem.endswith("_corpus")
        }
        if found:
            return found
    return {}


def list_search_spaces() -> tuple[str, ...]:
    """Names of the search spaces that come with mixopt."""
    return tuple(_spaces())


def search_space_path(name: str) -> Path:
    """Where a search space that comes with mixopt lies.

    Args:
        name: Its name, ``pile-17`` say, with or without ``.yaml``.

    Raises:
        SpaceError: If there is none of that name; lists those there are.
    """
    spaces = _spaces()
    stem = name.removesuffix(".yaml")
    if stem in spaces:
        return spaces[stem]
    close = difflib.get_close_matches(stem, list(spaces), n=1)
    known = ", ".join(spaces) or "none, for the folder search_spaces is missing"
    raise SpaceError(
        f"no search space named {name!r} comes with mixopt; there are: {known}",
        f"did you mean {close[0]!r}?"
        if close
        else "give one of these names, or a path to a YAML file",
    )
