"""Runs a storm of workers against a served study; the test and the benchmark share it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "service" / "service_storm.py"


def run(url, *, seed, workers, trials, kills):
    """The figures of a storm that kept every promise.

    Args:
        url: Of an empty database.
        seed: Of what is killed, and when.
        workers: Processes that ask at once.
        trials: Trials of the study.
        kills: Kills at most; one in five is of the server.
    """
    sys.path.insert(0, str(SCRIPT.parent))
    import service_storm

    names = _prepare(url, trials)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, SCRIPT, url, *map(str, (seed, workers, kills, port))]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    [[_, done]] = [line for line in lines if line[0] == "kills"]
    events = [line for line in lines if line[0] != "kills"]
    return {**service_storm.check(url, names, events, int(done)), "kills": int(done)}


def _prepare(url, count):
    """A study whose trials all wait; its budget ends with them, so that no fit is made."""
    from served import STUDY

    from mixopt.service.served_file import make_study
    from mixopt.space import Schedule, Trial
    from mixopt.study import Storage
    from mixopt.tune.study_file import StudyFile

    file = {**STUDY, "trainer": {"kind": "external"}, "budget": {"trials": count}}
    store = Storage(url)
    study = make_study(StudyFile.model_validate(file), store)
    names = [f"t{k}" for k in range(count)]
    weights = Schedule.static(dict.fromkeys(study.space.names, 1 / 3))
    store.add_trials(
        study.id, [Trial(id=n, schedule=weights, fidelity=study.fidelity) for n in names]
    )
    store.close()
    return names
