"""A Ray of several nodes on this machine, each with processes and an object store of its own."""

import json
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from mixopt.space import Fidelity, SearchSpace
from mixopt.study import CallableTrainer, State, Study, TrialBudget
from mixopt.tune import run_rounds
from mixopt.tune.session import ray_session

pytestmark = [pytest.mark.faults, pytest.mark.slow]
PATIENCE = 300
NAMES = ("web", "code", "books")
RAY = str(Path(sys.executable).with_name("ray"))
MIXOPT = [sys.executable, "-m", "mixopt", "run", "study.yaml"]

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
NOTED = """
import time
open("log", "a").write("start\\n")
time.sleep(2)
open("log", "a").write("end\\n")
"""
PROXIES = """name: proxies
space: {domains: [up, down], baseline: uniform}
corpus:
  name: letters
  context: 16
  tokenizer: {train: {vocab_size: 300}}
  split: {validation: 0.2, confirmation: 0.2}
  near_duplicates: null
  domains:
    up: {sources: [{glob: "up/*.txt"}]}
    down: {sources: [{glob: "down/*.txt"}]}
objective: {weights: {up: 0.5, down: 0.5}}
fidelity: {parameters: 3000, tokens: 3200}
trainer: {kind: proxy, pack: 2, settings: {context: 16, batch: 4, evaluation_tokens: 256}}
budget: {trials: 4}
initial: 4
confirm_seeds: 0
"""


def named(schedule, seed):
    return f"{seed} {schedule.exposure().to_array(NAMES).round(12).tolist()}"


class Slow:
    """A trial of some seconds; each start is a line in a log."""

    def __init__(self, log, seconds):
        self.log, self.seconds = str(log), seconds

    def __call__(self, schedule, _fidelity, seed):
        with open(self.log, "a") as file:
            file.write(named(schedule, seed) + "\n")
        time.sleep(self.seconds)
        gap = schedule.exposure().to_array(NAMES) - [0.6, 0.3, 0.1]
        return {"loss": 2 + float(gap @ gap)}


def wait_for(what, reason):
    deadline = time.monotonic() + PATIENCE
    while not what():
        if time.monotonic() > deadline:
            pytest.fail(reason)
        time.sleep(0.1)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def started(**given):
    """A head; it runs no trials unless told."""
    # The usual port of the process that starts jobs belongs to any other Ray on this machine.
    facts = {"num_cpus": 0, "dashboard_agent_listen_port": free_port(), **given}
    return Cluster(initialize_head=True, head_node_args=facts)


@pytest.fixture
def head():
    cluster = started()
    yield cluster
    cluster.shutdown()


@pytest.fixture
def served():
    """Address of the job server of a head that runs trials too.

    Nodes of one machine would share the folder that Ray unpacks a job's files into, and the first
    of them that has no more use for it deletes it.
    """
    port = free_port()
    cluster = started(num_cpus=2, include_dashboard=True, dashboard_port=port)
    yield f"http://127.0.0.1:{port}"
    cluster.shutdown()


def run(command, folder, **more):
    """What a command printed; its end must be a success."""
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "RAY_ADDRESS": "", **more}, capture_output=True,
        text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_a_job_submitted_to_a_job_server_runs_a_study(served, tmp_path):
    here, out = tmp_path / "here", tmp_path / "out"
    here.mkdir()
    (here / "study.yaml").write_text(STUDY.replace("PYTHON", sys.executable))
    (here / "train.py").write_text(TRAIN)
    submit = [RAY, "job", "submit", "--address", served, "--working-dir", "."]
    said = ["No available agent"]

    def submitted():
        # The server is up before the process that starts jobs.
        code, text = run([*submit, "--", *MIXOPT, "--address", "auto", "--out", str(out)], here)
        said.append(text)
        return code == 0 or said[0] not in text

    wait_for(submitted, "the job server took no job")
    assert "succeeded" in said[-1], said[-1]
    assert "1 node with 2 CPUs" in said[-1]
    records = Study.open(out / "study.db").records()
    assert [r.state for r in records] == [State.finished] * 6
    assert json.loads((out / "recommendation.json").read_text())["schedule"]
    assert (out / "report.html").is_file()


def test_a_head_that_is_killed_costs_only_the_trials_in_flight(tmp_path):
    """Ray ends the driver; the same command goes on with another Ray."""
    log = tmp_path / "log"
    log.touch()
    (tmp_path / "study.yaml").write_text(STUDY.replace("PYTHON", sys.executable))
    (tmp_path / "train.py").write_text(TRAIN.replace("print", NOTED + "print"))
    head = started(num_cpus=2)
    first = subprocess.Popen(
        [*MIXOPT, "--address", head.address, "--out", "out"], cwd=tmp_path, text=True,
        env={**os.environ, "RAY_ADDRESS": "", "RAY_gcs_rpc_server_reconnect_timeout_s": "5"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        wait_for(lambda: log.read_text().count("end") > 1, "no two trials ended")
        for each in [p for group in head.head_node.all_processes.values() for p in group]:
            each.process.kill()
        said, _ = first.communicate(timeout=PATIENCE)
    finally:
        first.kill()
        head.shutdown()
    assert first.returncode != 0
    assert "Failed to connect to GCS" in said
    known = [r for r in Study.open(tmp_path / "out" / "study.db").records() if not r.open]
    assert 1 < len(known) < 6
    code, said = run([*MIXOPT, "--address", "local", "--out", "out"], tmp_path)
    assert code == 0, said
    records = Study.open(tmp_path / "out" / "study.db").records()
    assert [r.state for r in records] == [State.finished] * 6
    # None that was stored ran again.
    assert known == records[: len(known)]
    assert log.read_text().count("end") <= 6 + 2


HIDING = pytest.mark.skipif(
    subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0,
    reason="folders cannot be mounted for one process here",
)


@HIDING
def test_a_full_disk_ends_a_run_that_goes_on_when_there_is_room(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY.replace("PYTHON", sys.executable))
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "out").mkdir()
    job = shlex.join([*MIXOPT, "--address", "local", "--out", "out"])
    steps = f"""mount -t tmpfs -o size=600k none out
        dd if=/dev/zero of=out/fill bs=1k count=420
        {job}; echo ended with $?
        rm out/fill; mount -o remount,size=20M out
        {job}; echo ended with $?"""
    _, said = run(["unshare", "-m", "bash", "-c", f"({steps}) 2>&1"], tmp_path)
    before, after = said.split("ended with 1")
    assert "database or disk is full" in before
    assert "that the disk has room" in before
    assert after.rstrip().endswith("ended with 0"), after


@HIDING
def test_two_nodes_that_share_no_folder(head, tmp_path):
    """The node that trains sees an empty folder where the driver keeps corpus, study and trunks."""
    for domain, words in {"up": "abcdefgh", "down": "zyxwvuts"}.items():
        (tmp_path / domain).mkdir()
        for i in range(40):
            text = " ".join(words[j:] + str(i * j) for j in range(8))
            (tmp_path / domain / f"{i}.txt").write_text(text * 4)
    (tmp_path / "study.yaml").write_text(PROXIES)
    ports = f"--dashboard-agent-listen-port={free_port()}"
    start = f"{RAY} start --address={head.address} --num-cpus=2 {ports} --block"
    hide = f"mount -t tmpfs none {tmp_path} && exec {start}"
    node = subprocess.Popen(
        ["unshare", "-m", "bash", "-c", hide], cwd="/", stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        code, said = run([*MIXOPT, "--address", head.address, "--out", "runs/first"], tmp_path)
    finally:
        node.terminate()
        node.wait()
    assert code == 0, said
    study = Study.open(tmp_path / "runs" / "first" / "study.db")
    assert [(r.state, r.reason) for r in study.records()] == [(State.finished, "")] * 4
    # Two of them in one process, each with its own rungs.
    assert len(study.observations()) == 4 * 2 * 2
    assert study.observations().value.nunique() == 4 * 2 * 2
    assert (tmp_path / "runs" / "first" / "report.html").is_file()
    # What workers wrote lies on their node.
    assert not (tmp_path / "runs" / "first" / "checkpoints").exists()


@pytest.mark.parametrize("gently", [False, True], ids=["killed", "told to end"])
def test_a_node_that_goes_away_in_the_middle_of_trials(head, tmp_path, gently):
    nodes = [head.add_node(num_cpus=1, dashboard_agent_listen_port=free_port()) for _ in range(2)]
    log = tmp_path / "log"
    log.touch()
    study = Study(
        "nodes",
        SearchSpace(domains=NAMES, baseline="uniform"),
        {"loss": 1.0},
        fidelity=Fidelity(parameters=1000, tokens=1000),
        storage=tmp_path / "study.db",
        budget=TrialBudget(trials=6),
        initial=6,
        confirm_seeds=0,
        retries=2,
    )

    def starts():
        return log.read_text().splitlines()

    def take_away():
        wait_for(lambda: len(starts()) >= 2, "no two trials were started")
        head.remove_node(nodes[0], allow_graceful=gently)

    with ray_session(head.address):
        thief = threading.Thread(target=take_away)
        thief.start()
        run_rounds(study, CallableTrainer(Slow(log, seconds=2.0)), out=tmp_path)
        thief.join()
        # Ray itself counts a killed node until its health checks have failed.
        wait_for(lambda: ray.cluster_resources()["CPU"] == 1, "the node is still there")
    records = study.records()
    assert [r.state for r in records] == [State.finished] * 6
    # The trial of the lost node ran again, with its own weights and seed; no other did.
    counts = Counter(starts())
    assert set(counts) == {named(r.trial.schedule, r.trial.seed) for r in records}
    assert sorted(counts.values()) == [1, 1, 1, 1, 1, 2]
