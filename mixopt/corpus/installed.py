"""Text that needs no download: what the Python installation and mixopt's dependencies carry.

Packages are found without being imported. Keys are relative to the package's own folder, so that
a corpus does not depend on where the virtual environment lies.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from mixopt.corpus.spec import InstalledKind
from mixopt.errors import CorpusError

PROSE_PACKAGES = (
    "botorch", "gpytorch", "networkx", "numpy", "pandas", "ray", "scipy", "sklearn", "sqlalchemy",
    "sympy", "torch",
)  # fmt: skip
STUB_PACKAGES = ("numpy", "pandas", "pydantic_core", "ray", "scipy", "tokenizers", "torch")
DATA_PACKAGES = ("jsonschema", "jsonschema_specifications", "pandas", "plotly", "ray", "scipy",
                 "torch", "torchgen")  # fmt: skip

_SKIPPED_FOLDERS = frozenset(
    {"__pycache__", "site-packages", "dist-packages", "test", "tests", "idle_test", "lib-dynload"}
)
_LICENCE = re.compile(r"licen[cs]e|copying|notice|authors|copyright", re.IGNORECASE)
_BUILD_TEXT = re.compile(r"cmakelists|requirements|entry_points|top_level|sources", re.IGNORECASE)
# A docstring follows a line that ends a header with a colon, or opens the file. Parsing the
# hundred megabytes of source for this would take most of the time of the whole build.
_DOCSTRING = re.compile(
    r'(?:\A(?:\s*#[^\n]*\n|\s*\n)*|:[ \t]*(?:#[^\n]*)?\n)[ \t]*[rR]?"""(.*?)"""', re.DOTALL
)
# Character tables (a seventh of the library, all alike) and the build settings of one machine.
_GENERATED = re.compile(r"encodings/|_sysconfigdata|config-|pydoc_data/")
_SHORTEST_DOCSTRING = 300


def installed_files(
    kind: InstalledKind, packages: tuple[str, ...] | None = None
) -> list[tuple[str, Path]]:
    """Files of one kind as ``(key, path)``, sorted by key.

    Args:
        kind: ``python`` (standard library without tests and character tables), ``cpp`` (torch's
            headers without the generated operators), ``prose`` (packages' docstrings and
            documentation files), ``stubs`` (.pyi), ``data`` (JSON, YAML, TOML).
        packages: Import names to look through; None takes this module's list, which names only
            what mixopt itself installs.

    Raises:
        CorpusError: A named package is not installed.
    """
    if kind == "python":
        found = _standard_library()
    elif kind == "cpp":
        found = _headers(packages or ("torch",))
    elif kind == "prose":
        found = _package_files(packages or PROSE_PACKAGES, {".py", ".rst", ".md", ".txt"})
        found = [(key, path) for key, path in found if not _is_legal_or_build_text(path)]
    elif kind == "stubs":
        found = _package_files(packages or STUB_PACKAGES, {".pyi"})
    else:
        found = _package_files(packages or DATA_PACKAGES, {".json", ".yaml", ".yml", ".toml"})
    return sorted(found)


def read_installed(kind: InstalledKind, path: Path) -> Iterator[str]:
    """Texts of one installed file; a file that is not UTF-8 is no text and gives none."""
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return
    if kind == "prose" and path.suffix == ".py":
        yield from docstrings(text)
    elif text.strip():
        yield text


def docstrings(source: str) -> Iterator[str]:
    """Docstrings of at least 300 characters and without doctest lines, dedented."""
    for match in _DOCSTRING.finditer(source):
        text = match.group(1)
        if len(text) >= _SHORTEST_DOCSTRING and ">>>" not in text:
            yield inspect.cleandoc(text)


def package_root(package: str) -> Path:
    """The folder of an installed package, found without importing it.

    Raises:
        CorpusError: No such package.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise CorpusError(
            f"The package {package!r} must be installed for this corpus, but it is not found.",
            f"Install {package}, or list other `packages` in the source.",
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _walk(root: Path, suffixes: set[str]) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS]
        yield from (Path(folder, name) for name in names if Path(name).suffix in suffixes)


def _standard_library() -> list[tuple[str, Path]]:
    root = Path(sysconfig.get_path("stdlib"))
    files = ((path.relative_to(root).as_posix(), path) for path in _walk(root, {".py"}))
    return [(f"stdlib/{key}", path) for key, path in files if not _GENERATED.match(key)]


def _headers(packages: tuple[str, ...]) -> list[tuple[str, Path]]:
    found = []
    for package in packages:
        root = package_root(package) / "include"
        for path in _walk(root, {".h", ".hpp", ".cuh"}):
            key = path.relative_to(root).as_posix()
            if not key.startswith("ATen/ops/"):
                found.append((f"{package}/include/{key}", path))
    return found


def _package_files(packages: tuple[str, ...], suffixes: set[str]) -> list[tuple[str, Path]]:
    found = []
    for package in packages:
        root = package_root(package)
        for path in _walk(root, suffixes):
            found.append((f"{package}/{path.relative_to(root).as_posix()}", path))
    return found


def _is_legal_or_build_text(path: Path) -> bool:
    if path.suffix == ".py":
        return False
    return bool(_LICENCE.search(path.name) or _BUILD_TEXT.search(path.name))
