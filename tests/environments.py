"""Environments of libraries that mixopt is held against, in the user's cache."""

import hashlib
import json
import os
import subprocess
import tempfile
import venv
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mixopt" / "environments"


def environment(name: str, spec: dict) -> Path:
    """The interpreter of an environment, made where it is not there.

    Args:
        name: Of its folder.
        spec: ``requires``, and where it matters the ``python`` version and what to go ``without``.

    Raises:
        OSError: If the interpreter is not there.
        subprocess.CalledProcessError: If something cannot be installed.
    """
    folder = CACHE / name
    stamp = hashlib.sha256(json.dumps(spec["requires"]).encode()).hexdigest()
    python = folder / "bin" / "python"
    kept = folder / ".mixopt"
    if kept.exists() and kept.read_text() == stamp:
        return python
    wanted = spec.get("python")
    if wanted is None:
        venv.create(folder, with_pip=True)
    else:
        make = [f"python{wanted}", "-m", "venv", str(folder)]
        subprocess.run(make, check=True, capture_output=True, text=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
        pins.write("torch==2.13.0\n")
        pins.flush()
        pip = [python, "-m", "pip", "install", "--quiet", "-c", pins.name, *spec["requires"]]
        subprocess.run(pip, check=True, capture_output=True, text=True)
        if spec.get("without"):
            pip = [python, "-m", "pip", "uninstall", "--quiet", "--yes", *spec["without"]]
            subprocess.run(pip, check=True, capture_output=True, text=True)
    kept.write_text(stamp)
    return python
