"""The files to deploy the service with name verbs, options and variables that there are."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from mixopt.cli import app

DEPLOY = Path(__file__).parents[2] / "examples" / "deploy"


def verb_lines():
    """Every call of mixopt in the files, as words."""
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert compose["services"]["service"]["environment"]["MIXOPT_STORAGE"].startswith("postgresql")
    yield ["serve", "--host", "0.0.0.0"]
    for part in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()):
        spec = part.get("spec", {}).get("template", {}).get("spec", {})
        for container in spec.get("containers", ()):
            words = container["args"]
            yield words[1:] if words[0] == "mixopt" else words
    unit = (DEPLOY / "mixopt.service").read_text()
    yield shlex.split(re.search(r"ExecStart=\S+mixopt (.*)", unit)[1])
    batch = (DEPLOY / "worker.sbatch").read_text()
    yield shlex.split(re.search(r"srun mixopt (.*)", batch, re.S)[1].replace("\\\n", " "))


@pytest.mark.parametrize("words", list(verb_lines()), ids=lambda w: w[0])
def test_every_call_is_one_that_the_command_takes(words, monkeypatch):
    monkeypatch.setenv("MIXOPT_SERVER", "http://127.0.0.1:8417")
    command, bound, _ = app.parse_args(words, print_error=False, exit_on_error=False)
    assert command.__name__ == words[0]
    assert bound.arguments.keys() - {"storage"}


def test_the_image_installs_the_extras_that_the_service_needs():
    text = (DEPLOY / "Dockerfile").read_text()
    assert "'.[service,postgres]'" in text
    assert 'CMD ["serve"' in text
