"""Every example, and every snippet of the README and of the documentation, does what it says."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import mixopt
from mixopt.cli import app
from mixopt.corpus import CorpusSpec
from mixopt.export import EXPORTERS, exporter_of, read_source
from mixopt.space import SearchSpace
from mixopt.tune.study_file import StudyFile

ROOT = Path(__file__).parents[1]
MADE = {"cli.md", "changelog.md", "python.md", "http.md", "errors.md"}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if page.name not in MADE and not page.name.endswith("-file.md")]
#: What a fragment of a file is a fragment of.
SPACE = {
    "domains": {name: {"tokens": "1B"} for name in ("web", "code", "math")},
    "target": {"parameters": "1B", "tokens": "10B"},
}
STUDY = {
    "name": "fragment",
    "space": SPACE,
    "objective": {"weights": {"web": 1.0}},
    "fidelity": {"parameters": "1M", "tokens": "10M"},
    "trainer": {"kind": "external"},
    "budget": {"trials": 8},
}
OWN_TEXT = {
    "corpus": {
        "name": "fragment",
        "context": 128,
        "domains": {name: {"sources": [{"glob": f"{name}/*.txt"}]} for name in SPACE["domains"]},
    }
}


def snippets(language):
    """The blocks of a language with the page and line that they stand on."""
    blocks = re.compile(rf"^```{language}\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return [
        pytest.param(found[1], id=f"{page.stem}:{len(text[: found.start()].splitlines())}")
        for page, text in ((page, page.read_text()) for page in PAGES)
        for found in blocks.finditer(text)
    ]


def train(schedule, _fidelity, _seed):
    code = schedule.exposure()["code"]
    return {"web": 2 + code**2, "code": 2 - code}


#: Three processes that load everything take longer than the others.
EXAMPLES = ["ask_tell", "domain_tree", "finished_runs", "five_exports", "own_text", "own_trainer"]
EXAMPLES.append(pytest.param("service", marks=pytest.mark.faults))


#: What makes an example that trains shorter.
REDUCED = {"own_text": ["4k", "40"]}


# The quickstart is run by tests/service/test_served_contract.py, here and through a service.
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", [name, str(tmp_path), *REDUCED.get(name, [])])
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    assert "mixture" in capsys.readouterr().out.lower()
    assert any("plotly" in page.read_text() for page in tmp_path.glob("*.html"))


@pytest.mark.faults
@pytest.mark.parametrize("name", ["domain_upsampling", "continual_pretraining"])
def test_an_example_that_trains_runs(name, tmp_path):
    script = ROOT / "examples" / name / "run.py"
    subprocess.run([sys.executable, script, "--out", tmp_path / name], check=True)
    assert any("plotly" in page.read_text() for page in (tmp_path / name).glob("*.html"))


def test_the_gallery_lists_what_there_is():
    listed = set(re.findall(r"`([\w/]+\.py)`", (ROOT / "docs" / "gallery.md").read_text()))
    there = [*(ROOT / "examples").glob("*.py"), *(ROOT / "examples").glob("*/run.py")]
    assert listed == {str(path.relative_to(ROOT / "examples")) for path in there}


@pytest.mark.parametrize("code", snippets("python"))
def test_a_python_snippet_runs(code, tmp_path, monkeypatch):
    def served(name):
        space = SearchSpace(domains=["web", "code"], baseline="uniform")
        budget = mixopt.TrialBudget(trials=6)
        weights = {"web": 0.5, "code": 0.5}
        return mixopt.Study(name, space, weights, storage=None, budget=budget, initial=4)

    # A served study has the methods of a local one, which tests/service holds it to.
    monkeypatch.setattr(
        "mixopt.service.client.connect", lambda *_, **__: SimpleNamespace(study=served)
    )
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "snippet", "exec"), {"__name__": "snippet", "train": train})


@pytest.mark.parametrize("text", snippets("yaml"))
def test_a_yaml_snippet_is_read(text, tmp_path):
    path = tmp_path / "snippet.yaml"
    found = yaml.safe_load(text)
    parts = str(found)
    if "mixture" in parts and "tokens" in found:
        path.write_text(text)
        assert read_source(path).schedule.phases
        return
    if "sources" in parts and "space" not in found:
        model, whole = CorpusSpec, {"name": "fragment", "context": 128} | found
    elif set(found) <= set(SearchSpace.model_fields):
        model, whole = SearchSpace, SPACE | found
    else:
        base = {k: v for k, v in STUDY.items() if k != "fidelity" or "fidelities" not in found}
        model, whole = StudyFile, base | (OWN_TEXT if "'proxy'" in parts else {}) | found
    path.write_text(yaml.safe_dump(whole, sort_keys=False))
    assert model.from_yaml(path)


@pytest.mark.parametrize("text", snippets("sh"))
def test_the_commands_of_a_snippet_can_be_read(text, monkeypatch):
    monkeypatch.setenv("MIXOPT_SERVER", "http://127.0.0.1:8417")
    lines = [line.partition(" > ")[0] for line in text.replace("\\\n", " ").splitlines()]
    for command in (shlex.split(line, comments=True) for line in lines):
        if command[:1] == ["mixopt"]:
            app.parse_args(command[1:], exit_on_error=False, print_error=False)


@pytest.mark.faults
def test_the_tutorial_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    script = runpy.run_path(str(ROOT / "docs" / "build_tools" / "tutorial.py"))
    page = (ROOT / "docs" / "tutorial.md").read_text()
    script["run"](page, tmp_path)
    shown = [path.read_text() for path in sorted(tmp_path.glob("*.txt"))]
    assert len(shown) == page.count("```sh")
    assert "against the baseline" in "".join(shown)


def test_what_the_reference_links_to_is_in_it():
    made = runpy.run_path(str(ROOT / "docs" / "build_tools" / "reference.py"))
    text = "".join(page for _, page in made["file_pages"]()) + made["http_page"]()
    linked = set(re.findall(r"\(#(key-\w+)\)", text))
    assert "key-searchspace" in linked
    assert linked <= set(re.findall(r"^\((key-\w+)\)=$", text, re.MULTILINE))


def test_links_from_the_readme_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


def test_the_readme_says_what_each_export_was_loaded_with():
    text = (ROOT / "README.md").read_text()
    for exporter in map(exporter_of, EXPORTERS):
        row = f"| `{exporter.name}` | {exporter.changes} | {exporter.unit} | {exporter.loaded} |"
        assert row in text, exporter.name
