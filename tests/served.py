"""The study that the tests of the service serve, and how it is run."""

import time

from small_study import NAMES, bowl

STUDY = {
    "name": "demo",
    "space": {"domains": list(NAMES), "baseline": "uniform"},
    "objective": {"weights": {"loss": 1.0}},
    "fidelity": {"parameters": 1_000_000, "tokens": 1_000_000_000},
    "budget": {"trials": 10},
    "initial": 6,
    "batch": 4,
}


def wait_for(http, path, **how):
    """The answer of a path, once it is there."""
    while True:
        answer = http.get(path, **how)
        if answer.status_code != 202:
            return answer
        time.sleep(0.05)


def run_all(study, train=bowl):
    """Run a served or a local study to its end."""
    while study.stop_reason is None:
        for trial in study.ask():
            study.tell(trial.id, train(trial.schedule, trial.fidelity, trial.seed))
