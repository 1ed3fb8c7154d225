"""The files to deploy the service with name verbs, options and variables that there are."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mixopt.cli import app
from mixopt.study import Storage
from mixopt.study.storage.access_tokens import Scope, create_token

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "examples" / "deploy"


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


@pytest.mark.faults
def test_ray_serve_answers_those_who_have_a_token(tmp_path):
    pytest.importorskip("ray.serve", reason="pip install 'ray[serve]'", exc_type=ImportError)
    script = tmp_path / "deploy.py"
    script.write_text(RAY_SERVE)
    url = f"sqlite:///{tmp_path / 'served.db'}"
    store = Storage(url)
    token = create_token(store, "ann", Scope.admin)
    store.close()
    path = os.pathsep.join([str(ROOT), *sys.path])
    given = {**os.environ, "MIXOPT_STORAGE": url, "PYTHONPATH": path, "MIXOPT_TOKEN": token}
    done = subprocess.run(
        [sys.executable, script], env=given, capture_output=True, text=True, check=False
    )
    assert "answered: 401 []" in done.stdout, done.stderr


# In a process of its own: Ray Serve leaves threads and warnings behind.
RAY_SERVE = """
import os, socket
import httpx2, ray
from ray import serve
from examples.deploy.ray_serve import app
import mixopt

with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
ray.init(include_dashboard=False, num_cpus=2)
serve.start(http_options={"host": "127.0.0.1", "port": port})
serve.run(app)
url = f"http://127.0.0.1:{port}"
refused = httpx2.get(f"{url}/v1/studies", timeout=60).status_code
print("answered:", refused, mixopt.connect(url).studies())
serve.shutdown()
ray.shutdown()
"""
