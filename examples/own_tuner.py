"""Search mixtures in a Tuner of your own: your trainable, your scheduler, your resources.

Run it again with the same folder, ``python examples/own_tuner.py FOLDER``, after it was killed:
Tune restores its trials, and the study has kept what they reported.
"""

import math
import sys
import tempfile
from pathlib import Path

from ray import tune
from ray.tune.search import ConcurrencyLimiter

from mixopt import Fidelity, Objective, SearchSpace, Study, TrialBudget
from mixopt.tune import EarlyStop, MixtureSearch, schedule_of

TOKENS = 1_000_000


def train(config):
    """Your training loop: it trains on a schedule, and reports the metrics with the tokens seen."""
    code = schedule_of(config).exposure().get("code", 0.0)
    for share in (0.25, 0.5, 1.0):
        early = 0.2 * (1 - share)
        web, own = 2 + math.exp(-2 * (1 - code)), 1 + math.exp(-3 * code)
        seen = int(share * config["fidelity"]["tokens"])
        tune.report({"web": web + early, "code": own + early, "tokens": seen})


def main(folder: Path) -> None:
    """Run the study, or go on with it."""
    study = Study(
        "own-tuner",
        SearchSpace(domains={"web": {"tokens": 900_000}, "code": {"tokens": 100_000}}),
        Objective(weights={"web": 0.5, "code": 0.5}),
        fidelity=Fidelity(parameters=1_000_000, tokens=TOKENS),
        storage=folder / "study.db",
        budget=TrialBudget(trials=12),
        initial=4,
        batch="rolling",
    )
    runs = folder / "ray" / "search"
    if tune.Tuner.can_restore(str(runs)):
        tuner = tune.Tuner.restore(str(runs), train, resume_errored=False)
    else:
        tuner = tune.Tuner(
            train,
            tune_config=tune.TuneConfig(
                search_alg=ConcurrencyLimiter(MixtureSearch(study), max_concurrent=2),
                scheduler=EarlyStop(study),
                num_samples=-1,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(name="search", storage_path=str(folder / "ray"), verbose=0),
        )
    tuner.fit()
    print("the best mixture:", study.recommend().schedule.base)
    study.plot.history().write_html(folder / "history.html")
    assert {str(record.state) for record in study.records()} <= {"finished", "ended_early"}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).resolve())
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(scratch))
