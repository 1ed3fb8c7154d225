"""Put your own trainer behind a study: here a shell command that reads a schedule, writes metrics.

mixopt writes the schedule as JSON, runs the command, checks its exit code and reads one JSON object
per line: the tokens seen and the value of each metric. ``python examples/own_trainer.py [FOLDER]``
keeps the trainer and a figure in FOLDER (runs/own_trainer).
"""

import sys
from pathlib import Path

from mixopt import CommandTrainer, Fidelity, Objective, SearchSpace, Study, TrialBudget

TRAINER = """
import json, math, sys

phases = json.load(open(sys.argv[1]))["schedule"]["phases"]
code = sum(p["fraction"] * p["mixture"].get("code", 0) for p in phases)
late = phases[-1]["mixture"].get("code", 0)
with open(sys.argv[2], "w") as out:
    for tokens in (500_000, 1_000_000):
        web = 2 + math.exp(-2 * (1 - code)) + 5e4 / tokens
        values = {"web": web, "code": 1 + math.exp(-3 * code - late)}
        print(json.dumps({"tokens": tokens, **values}), file=out)
"""

space = SearchSpace(
    domains={"web": {"tokens": 900_000}, "code": {"tokens": 100_000}},
    phases=[{"name": "base"}, {"name": "ending", "fraction": [0, 0.1, 0.2]}],
)
objective = Objective(weights={"web": 0.5, "code": 0.5})
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own_trainer")
folder.mkdir(parents=True, exist_ok=True)
script = folder / "train.py"
script.write_text(TRAINER)
trainer = CommandTrainer(f"{sys.executable} {script} {{schedule}} {{out}}")
study = Study(
    "own-trainer",
    space,
    objective,
    # The last line of metrics must be of this many tokens: a run that stops before has no end.
    fidelity=Fidelity(parameters=1_000_000, tokens=1_000_000),
    storage=None,
    budget=TrialBudget(trials=10),
)
best = study.optimize(trainer)

print("the recommended mixture:", best.to_frame().round(3), sep="\n")
study.plot.tradeoff().write_html(folder / "tradeoff.html")

assert best.predicted.mean <= best.baseline.mean
