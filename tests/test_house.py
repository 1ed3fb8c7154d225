"""The house: rooms import only from rooms above them, and starting up loads nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mixopt

PACKAGE = Path(mixopt.__file__).parent
ROOMS = [
    "errors",
    "space",
    "laws",
    "advice",
    "corpus",
    "export",
    "surrogate",
    "propose",
    "proxy",
    "study",
    "analysis",
    "tune",
    "report",
    "bench",
    "service",
    "cli",
]
# Rooms that are side by side although one stands above the other in the list.
STRANGERS = {
    "corpus": {"laws", "advice"},
    "export": {"laws", "corpus"},
    "surrogate": {"corpus", "export", "advice"},
    "propose": {"corpus", "export"},
    "proxy": {"laws", "surrogate", "propose", "export"},
    "study": {"corpus", "export", "proxy"},
    "report": {"corpus", "proxy"},
}
HEAVY = ("torch", "ray", "botorch", "pandas", "scipy", "plotly", "pyarrow", "sqlalchemy")


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "mixopt" and len(parts) > 1:
                yield parts[1], node.lineno


# The package's own entry points lie in no room.
SOURCES = [
    p
    for p in sorted(PACKAGE.rglob("*.py"))
    if p.parent != PACKAGE or p.stem not in {"__init__", "__main__"}
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_from_above(path):
    room = room_of(path)
    assert room in ROOMS, f"{path} lies in a room the design does not know"
    for other, line in imported_rooms(path):
        if other == room:
            continue
        assert ROOMS.index(other) < ROOMS.index(room), f"{path}:{line} imports {other} from below"
        assert other not in STRANGERS.get(room, set()), f"{path}:{line} must not know {other}"


def test_no_import_is_relative():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}:{node.lineno}"


@pytest.mark.parametrize(
    "what", ["import mixopt", "import mixopt.cli; mixopt.cli.main(['--help'])"]
)
def test_starting_up_loads_nothing_heavy(what):
    code = f"{what}\n".replace("; ", "\n")
    check = f"import sys\ntry:\n    {code.strip().replace(chr(10), chr(10) + '    ')}\n"
    check += "except SystemExit as end:\n    assert not end.code\n"
    check += f"print('LOADED', [m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_every_public_name_can_be_had():
    for name in mixopt.__all__:
        assert getattr(mixopt, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Mixtur'"):
        _ = mixopt.Mixtur
