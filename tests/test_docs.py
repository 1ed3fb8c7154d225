"""Every example and every Python snippet of the README runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


# The quickstart is run by tests/service/test_served_contract.py, here and through a service.
@pytest.mark.parametrize("name", ["own_trainer", "finished_runs"])
def test_an_example_runs(name):
    path = ROOT / "examples" / f"{name}.py"
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "mixture" in done.stdout.lower()


@pytest.mark.parametrize("code", SNIPPETS)
def test_a_snippet_of_the_readme_runs(code, tmp_path):
    path = tmp_path / "snippet.py"
    path.write_text(code)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_readme_names_every_verb():
    from mixopt.cli import app

    text = (ROOT / "README.md").read_text()
    verbs = {name for name in app if not name.startswith("-")}
    assert verbs
    for verb in verbs:
        assert f"mixopt {verb}" in text, verb


def test_the_readme_links_to_files_that_are_there():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


def test_the_readme_says_what_each_export_was_loaded_with():
    from mixopt.export import EXPORTERS, exporter_of

    text = (ROOT / "README.md").read_text()
    for exporter in map(exporter_of, EXPORTERS):
        row = f"| `{exporter.name}` | {exporter.changes} | {exporter.unit} | {exporter.loaded} |"
        assert row in text, exporter.name
