"""Ask and tell: your own loop runs the trials; killed halfway, the same command goes on.

``python examples/ask_tell.py [FOLDER]`` keeps the study and its figure in FOLDER (runs/ask_tell).
"""

import sys
from pathlib import Path

from mixopt import Objective, SearchSpace, Study, TrialBudget

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/ask_tell")
folder.mkdir(parents=True, exist_ok=True)


def opened():
    """The study in its storage, made if it is not there."""
    return Study(
        "ask-tell",
        SearchSpace(domains={"web": {"tokens": "800B"}, "code": {"tokens": "200B"}}),
        Objective(weights={"web": 0.5, "code": 0.5}),
        storage=folder / "study.db",
        budget=TrialBudget(trials=10),
    )


def train(schedule):
    """Stand-in for your training run."""
    code = schedule.exposure()["code"]
    return {"web": 2 + code**2, "code": 1 + (0.1 + code) ** -0.3}


study = opened()
for trial in study.ask(2):
    study.tell(trial.id, train(trial.schedule))
# As if the process had been killed here: everything it knew is in the storage.
study = opened()
while study.stop_reason is None:
    for trial in study.ask(2):
        study.tell(trial.id, train(trial.schedule))

best = study.recommend()
print("the recommended mixture:", best.schedule.base, study.stop_reason, sep="\n")
study.plot.history().write_html(folder / "history.html")

assert len(study.trials()) == 10
assert best.predicted.mean < best.baseline.mean
