"""The search spaces that come with mixopt."""

from __future__ import annotations

import difflib
from pathlib import Path

from mixopt.errors import SpaceError


def _folders() -> list[Path]:
    package = Path(__file__).resolve().parents[1]
    # A wheel carries the folder inside the package; an editable install finds it beside it.
    return [package / "search_spaces", package.parent / "search_spaces"]


def _shipped(corpora: bool) -> dict[str, Path]:
    """YAML files by name; corpus specifications lie in the same folder and end in ``_corpus``."""
    for folder in _folders():
        files = sorted(folder.glob("*.yaml"))
        if files:
            return {f.stem: f for f in files if f.stem.endswith("_corpus") == corpora}
    return {}


def list_search_spaces() -> tuple[str, ...]:
    """Names of the search spaces that come with mixopt."""
    return tuple(_shipped(corpora=False))


def find_search_space(name: str, folder: Path | None = Path()) -> Path:
    """The file of a search space: a path, from a folder, or the name of one that is shipped.

    Without a folder a name is never a path.

    Raises:
        SpaceError: If there is none; lists those that come with mixopt.
    """
    return _find(name, folder, _shipped(corpora=False), "search space")


def find_corpus_spec(name: str, folder: Path = Path()) -> Path:
    """The file of a corpus specification, found as a search space is.

    Raises:
        SpaceError: If there is none; lists those that come with mixopt.
    """
    return _find(name, folder, _shipped(corpora=True), "corpus specification")


def _find(name: str, folder: Path | None, shipped: dict[str, Path], what: str) -> Path:
    stem = name.removesuffix(".yaml")
    if folder is not None and (folder / name).is_file():
        return folder / name
    if stem in shipped:
        return shipped[stem]
    close = difflib.get_close_matches(stem, list(shipped), n=1)
    known = ", ".join(shipped) or "none, for the folder search_spaces is missing"
    hint = f"did you mean {close[0]!r}?" if close else "give one of these, or a path to a YAML file"
    raise SpaceError(f"no {what} named {name!r} comes with mixopt; there are: {known}", hint)
