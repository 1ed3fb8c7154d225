"""A service with two workers: one keeps the study, two commands run its trials side by side.

``python examples/service.py [FOLDER]`` keeps storage, logs and the report in FOLDER (runs/service).
The same by hand, on as many machines as you like, is told in docs/howto/team.md.
"""

import signal
import socket
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

from mixopt import connect

STUDY = {
    "name": "shared",
    "space": {"domains": {"web": {"tokens": "800B"}, "code": {"tokens": "200B"}}},
    "objective": {"weights": {"web": 0.5, "code": 0.5}},
    "fidelity": {"parameters": "100M", "tokens": "2B"},
    "budget": {"trials": 10},
}
TRAIN = """
import json, sys

given = json.load(open(sys.argv[1]))
(phase,) = given["schedule"]["phases"]
code = phase["mixture"].get("code", 0)
losses = {"web": 2 + code**2, "code": 1 + (0.1 + code) ** -0.3}
print(json.dumps({"tokens": given["fidelity"]["tokens"], **losses}), file=open(sys.argv[2], "w"))
"""


def mixopt(*words: str, **how) -> subprocess.Popen:
    """Start a verb."""
    return subprocess.Popen([sys.executable, "-m", "mixopt", *words], **how)


def main(folder: Path) -> None:
    """Serve, make the study, run it with two workers, and ask for the answer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text(TRAIN)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    service = mixopt("serve", "--port", port, "--storage", f"sqlite:///{folder / 'studies.db'}")
    try:
        with closing(connect(url)) as client:
            study = client.create(STUDY)
            command = f"{sys.executable} {folder / 'train.py'} {{schedule}} {{out}}"
            words = ("worker", "--server", url, "--study", "shared", "--command", command)
            workers = [mixopt(*words) for _ in range(2)]
            assert [worker.wait() for worker in workers] == [0, 0]
            best = study.recommend()
            print("the recommended mixture:", best.schedule.base, study.stop_reason, sep="\n")
            (folder / "report.html").write_bytes(study.report())
            records = study.records()
    finally:
        # As Ctrl-C does.
        service.send_signal(signal.SIGINT)
        service.wait()

    print("trials by worker:", Counter(record.worker for record in records))
    assert [record.state for record in records] == ["finished"] * 10
    assert best.predicted.mean < best.baseline.mean


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/service"))
