"""Run the tutorial's commands and keep what they print: ``python docs/build_tools/tutorial.py``.

Every block of shell in ``docs/tutorial.md`` is run in a scratch folder, in order; what block N
prints goes to ``docs/tutorial/N.txt``, which the page includes. The text is what installed packages
carry, so it takes no download; on two cores it takes some ten minutes.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mixopt.corpus.installed import installed_files

DOCS = Path(__file__).parents[1]
FOLDERS = {"python": ("python", ".py"), "cpp": ("cpp", ".h"), "stubs": ("stubs", ".pyi")}
FILES, LARGEST = 250, 60_000


def lay_out_text(folder: Path) -> None:
    """Folders of text as somebody might have them."""
    for name, (kind, ending) in FOLDERS.items():
        target = folder / "text" / name
        target.mkdir(parents=True)
        files = [p for _, p in installed_files(kind) if p.suffix == ending]
        files = [p for p in files if 500 < p.stat().st_size < LARGEST][:: max(len(files) // 600, 1)]
        for number, path in enumerate(files[:FILES]):
            shutil.copy(path, target / f"{number:03d}{ending}")


def run(page: str, kept: Path) -> None:
    """Run the blocks of a page, keep what they print, and stop at the first that fails."""
    kept.mkdir(exist_ok=True)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "tutorial"
        folder.mkdir()
        lay_out_text(folder)
        for number, block in enumerate(re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S), 1):
            done = subprocess.run(
                ["bash", "-ec", block],
                cwd=folder,
                env={**os.environ, "PATH": path, "COLUMNS": "100"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            text = done.stdout.replace(str(folder), ".")
            text = re.sub(r"\$schema=\S+", "$schema=.../mixopt/schemas/study.schema.json", text)
            (kept / f"{number}.txt").write_text(
                "\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8"
            )
            sys.stderr.write(f"{block}\n{text}\n")
            if done.returncode:
                raise SystemExit(done.returncode)


if __name__ == "__main__":
    run((DOCS / "tutorial.md").read_text(encoding="utf-8"), DOCS / "tutorial")
