"""What the verifiers share: the folder of the export, its report, and how to answer."""

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from unittest.mock import MagicMock

FOLDER = Path(sys.argv[1])
REPORT = json.loads((FOLDER / "expected.json").read_text())

#: Each domain's data is one token, or one word, alone.
token_of = {name: i for i, name in enumerate(REPORT["total"], 1)}


def phases():
    """Slug and report of each phase; ``probe`` holds sequences at which rates are compared."""
    for index, phase in enumerate(REPORT["phases"], 1):
        yield f"phase{index}_{phase['name']}", phase


def answer(drawn, rates=None):
    """Print sequences per phase and domain, by token or by name, and rates by sequence."""
    name_of = {token: name for name, token in token_of.items()}
    found = [{name_of.get(key, key): int(n) for key, n in counts.items()} for counts in drawn]
    print("\n" + json.dumps({"drawn": found, "rates": rates}))


def stand_in(*names):
    """Modules for images and sound, whose builds for CUDA do not load beside torch for CPUs."""
    import transformers  # noqa: F401  It looks for the real ones, and must not find these.

    for name in names:
        spec = ModuleSpec(name, None)
        parts = {"VisionDataset": type("VisionDataset", (), {}), "__path__": []}
        sys.modules[name] = MagicMock(__spec__=spec, **parts)
