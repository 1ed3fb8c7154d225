"""The house: rooms import only from rooms above them, and starting up loads nothing heavy."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import mixopt

PACKAGE = Path(mixopt.__file__).parent
ROOMS = [
    "errors",
    "steps",
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
    "testing",
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
# Who may know a library; every room may know those that are not named here.
LIBRARIES = {
    "torch": {"surrogate", "propose", "proxy", "analysis", "bench"},
    "gpytorch": {"surrogate", "propose", "bench"},
    "botorch": {"surrogate", "propose", "bench"},
    "ray": {"tune"},
    "sqlalchemy": {"study", "tune", "service"},
    "alembic": {"study"},
    "plotly": {"report"},
    "fastapi": {"service"},
    "uvicorn": {"service"},
    "httpx2": {"service"},
    "prometheus_client": {"service"},
    "cyclopts": {"cli"},
}
HEAVY = ("torch", "ray", "botorch", "pandas", "scipy", "plotly", "pyarrow", "sqlalchemy")


def dotted(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {dotted(path): path for path in sorted(PACKAGE.rglob("*.py"))}
# The package's own entry points lie in no room.
IN_ROOMS = {name: path for name, path in FILES.items() if name not in {"mixopt", "mixopt.__main__"}}


def imports(text):
    """Modules and lines of every import, inside functions and for type checkers included."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                whole = f"{module}.{alias.name}"
                yield (whole if whole in FILES else module), node.lineno


def room_of(name):
    return name.split(".")[1]


def circles(edges):
    """Groups of nodes that reach one another, themselves included."""

    def reach(start):
        seen, stack = set(), [start]
        while stack:
            new = edges.get(stack.pop(), set()) - seen
            seen |= new
            stack += new
        return seen

    after = {node: reach(node) for node in edges}
    return {
        frozenset(other for other in after[node] if node in after.get(other, ()))
        for node in edges
        if node in after[node]
    }


@pytest.mark.parametrize("name", IN_ROOMS)
def test_a_room_imports_only_from_above(name):
    room = room_of(name)
    assert room in ROOMS, f"{name} lies in a room the design does not know"
    for target, line in imports(FILES[name].read_text()):
        here = f"{FILES[name]}:{line}"
        assert not target.startswith("."), f"{here}: a relative import"
        assert room in LIBRARIES.get(target.split(".")[0], {room}), f"{here} imports {target}"
        if target not in IN_ROOMS or room_of(target) == room:
            continue
        other = room_of(target)
        assert ROOMS.index(other) < ROOMS.index(room), f"{here} imports {other} from below"
        assert other not in STRANGERS.get(room, set()), f"{here} must not know {other}"


def test_no_files_import_each_other_in_a_circle():
    edges = {
        name: {target for target, _ in imports(path.read_text()) if target in FILES}
        for name, path in FILES.items()
    }
    found = circles(edges)
    assert not found, f"circles of imports: {[sorted(circle) for circle in found]}"


def test_circles_of_any_size_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == set()
    assert circles({"a": {"a"}}) == {frozenset("a")}
    ring = {str(i): {str((i + 1) % 9)} for i in range(9)} | {"x": {"0"}, "y": {"z"}, "z": {"y"}}
    assert circles(ring) == {frozenset("012345678"), frozenset("yz")}


def test_every_kind_of_import_is_seen():
    text = (
        "import mixopt.errors\nfrom mixopt.space import model, Frozen\nfrom . import x\n"
        "if TYPE_CHECKING:\n    import torch.nn\ndef f():\n    from mixopt.cli import app\n"
    )
    assert {target for target, _ in imports(text)} == {
        "mixopt.errors",
        "mixopt.space.model",
        "mixopt.space",
        ".",
        "torch.nn",
        "mixopt.cli.app",
    }


def test_a_file_name_stands_for_one_thing():
    names = Counter(p.name for p in FILES.values() if p.name not in {"__init__.py", "__main__.py"})
    assert [name for name, count in names.items() if count > 1] == []


def test_no_private_module_of_a_library_is_imported():
    for path in FILES.values():
        for target, line in imports(path.read_text()):
            private = any(part.startswith("_") for part in target.split(".")[1:])
            own = target.split(".")[0] in {"mixopt", "__future__"}
            assert own or not private, f"{path}:{line} imports {target}"


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
