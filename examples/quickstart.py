"""A first result: choose the mixture of three domains for a trainer that is a plain function.

``python examples/quickstart.py [FOLDER]`` draws each domain's effect there (runs/quickstart).
"""

import math
import sys
from pathlib import Path

from mixopt import Objective, SearchSpace, Study, TrialBudget


def train(schedule, fidelity, seed):
    """Stand-in for a training run: a loss law with a little of every domain in every metric."""
    del fidelity, seed
    web, code, math_ = (schedule.exposure()[name] for name in ("web", "code", "math"))
    return {
        "web": 2.2 + 1.1 * math.exp(-2.0 * web - 0.6 * math_),
        "code": 0.9 + 1.9 * math.exp(-3.5 * code - 0.5 * math_),
        "math": 1.4 + 1.5 * math.exp(-2.5 * math_ - 0.4 * code),
    }


domains = {"web": {"tokens": 800}, "code": {"tokens": 150}, "math": {"tokens": 50}}
space = SearchSpace(domains=domains)
objective = Objective(weights={"web": 0.4, "code": 0.3, "math": 0.3})
study = Study("quickstart", space, objective, storage=None, budget=TrialBudget(trials=20))
best = study.optimize(train)
print(best.schedule.base, best.predicted, best.baseline, sep="\n")
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/quickstart")
folder.mkdir(parents=True, exist_ok=True)
study.plot.effects().write_html(folder / "effects.html")

assert best.predicted.mean < best.baseline.mean - 0.1
