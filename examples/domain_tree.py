"""Many domains as a tree: topics are searched, the quality split inside each is tied.

``python examples/domain_tree.py [FOLDER]`` draws each domain's effect there (runs/domain_tree).
"""

import sys
from pathlib import Path

from mixopt import Objective, SearchSpace, Study, TrialBudget

TOPICS = ("science", "news", "forums", "law")
WORTH = {"science": 0.9, "news": 0.5, "forums": 0.3, "law": 0.1}
tree = {
    topic: {
        "tied": "natural",  # high and low keep the proportions of their tokens
        "domains": {"high": {"tokens": "10B"}, "low": {"tokens": "30B"}},
    }
    for topic in TOPICS
}
space = SearchSpace(domains={"web": {"domains": tree}, "code": {"tokens": "40B"}})


def train(schedule, fidelity, seed):
    """Stand-in for a training run: the loss falls with what each topic is worth."""
    del fidelity, seed
    share = schedule.exposure()
    learned = sum(WORTH[t] * (share[f"web/{t}/high"] + share[f"web/{t}/low"]) for t in TOPICS)
    return {"text": 2 + (0.05 + learned) ** -0.3, "code": 1 + (0.05 + share["code"]) ** -0.3}


objective = Objective(weights={"text": 0.7, "code": 0.3})
study = Study("tree", space, objective, storage=None, budget=TrialBudget(trials=10), initial=10)
best = study.optimize(train)
print("the recommended mixture:", best.to_frame()["exposure"].round(3).to_dict(), sep="\n")
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/domain_tree")
folder.mkdir(parents=True, exist_ok=True)
study.plot.effects().write_html(folder / "effects.html")

share = best.schedule.base
for topic in TOPICS:
    assert abs(share[f"web/{topic}/low"] - 3 * share[f"web/{topic}/high"]) < 1e-6
assert best.predicted.mean < best.baseline.mean
assert share["web/science/low"] > share["web/law/low"]
