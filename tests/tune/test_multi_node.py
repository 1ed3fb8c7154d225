"""A Ray of several nodes on this machine, each with processes and an object store of its own."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from mixopt.study import State, Study

pytestmark = [pytest.mark.faults, pytest.mark.slow]
PATIENCE = 300

STUDY = """name: simple
space:
  domains:
    web: {tokens: 900}
    code: {tokens: 300}
objective:
  weights: {web: 0.5, code: 0.5}
fidelity: {parameters: 1000, tokens: 1000}
trainer:
  kind: command
  command: PYTHON train.py {schedule}
budget: {trials: 6}
initial: 6
confirm_seeds: 0
"""
TRAIN = """
import json, sys
phases = json.load(open(sys.argv[1]))["schedule"]["phases"]
code = sum(p["fraction"] * p["mixture"].get("code", 0) for p in phases)
print(json.dumps({"web": 2 + code ** 2, "code": 2 + (1 - code) ** 2}))
"""


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def folder(tmp_path):
    """A study with a trainer beside it."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "study.yaml").write_text(STUDY.replace("PYTHON", sys.executable))
    (folder / "train.py").write_text(TRAIN)
    return folder


def test_a_job_submitted_to_a_job_server_runs_a_study(folder, tmp_path):
    port, out = free_port(), tmp_path / "out"
    head = {"num_cpus": 2, "include_dashboard": True, "dashboard_port": port}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        server = f"http://127.0.0.1:{port}"
        ray_command = str(Path(sys.executable).with_name("ray"))
        submit = [ray_command, "job", "submit", "--address", server, "--working-dir", "."]
        mixopt = [sys.executable, "-m", "mixopt", "run", "study.yaml"]
        done = subprocess.run(
            [*submit, "--", *mixopt, "--address", "auto", "--out", str(out)],
            cwd=folder,
            env={**os.environ, "RAY_ADDRESS": ""},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    finally:
        cluster.shutdown()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 nodes with 2 CPUs" in done.stdout
    assert "succeeded" in done.stdout
    records = Study.open(out / "study.db").records()
    assert [r.state for r in records] == [State.finished] * 6
    assert json.loads((out / "recommendation.json").read_text())["schedule"]
    assert (out / "report.html").is_file()
