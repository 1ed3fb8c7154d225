"""What this machine can do: its devices, its databases, and the trainers' libraries on it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from mixopt import __version__
from mixopt.export import EXPORTERS, exporter_of
from mixopt.proxy import device_names

#: Packages of the extras, with what they are for.
EXTRAS = {
    "psycopg": ("PostgreSQL", "studies that many machines write: pip install 'mixopt[postgres]'"),
    "uvicorn": ("service", "mixopt serve: pip install 'mixopt[service]'"),
    "lightgbm": ("LightGBM", "the recipes of peers in mixopt bench: pip install 'mixopt[bench]'"),
}
#: A package with its version in an exporter's words.
_LOADED = re.compile(r"([a-z][\w.-]*) (\d+\.\d[\w.]*)")


@dataclass(frozen=True)
class Finding:
    """One thing that is there, or is not.

    Attributes:
        what: Its name.
        found: Whether it is there.
        says: Version or size; what to do where it is not there.
    """

    what: str
    found: bool
    says: str


def examine() -> list[Finding]:
    """Everything a study can use of this machine; nothing is started, and nothing is written."""
    return [*_machine(), *_parts(), *_trainers()]


def _machine() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("mixopt", True, f"{__version__} on Python {python}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield Finding("CPU", True, f"{os.cpu_count()} cores, {memory:.1f} GiB of memory")
    gpus = device_names()
    yield Finding("GPU", bool(gpus), ", ".join(gpus) or "proxies train on the CPU")


def _parts() -> Iterator[Finding]:
    address = os.environ.get("RAY_ADDRESS")
    where = f"joins {address}" if address else "started for each run; --address auto joins one"
    yield Finding("Ray", True, f"{importlib.metadata.version('ray')}, {where}")
    yield Finding("SQLite", True, f"{sqlite3.sqlite_version}, for studies on this machine")
    for package, (what, purpose) in EXTRAS.items():
        version = _version(package)
        yield Finding(what, version is not None, f"{package} {version}" if version else purpose)


def _trainers() -> Iterator[Finding]:
    for exporter in map(exporter_of, EXPORTERS):
        named = _LOADED.search(exporter.loaded)
        if named is None:
            continue
        package, tested = named.groups()
        version = _version(package)
        says = f"{package} {version}" if version else f"{package} is not installed"
        note = "" if version == tested else f"; exports are checked with {tested}"
        yield Finding(f"trainer {exporter.name}", version is not None, f"{says}{note}")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
