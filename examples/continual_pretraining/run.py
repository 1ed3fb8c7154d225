"""The critical share of old data, predicted from four shares and verified by runs at it.

    python examples/continual_pretraining/run.py [--out runs/continual] [--results FILE]

A base model of C++ and prose is trained once per seed and annealed; every continuation branches off
it with a re-warmed learning rate and a share of old text, the rest Python. The law of the old loss
gives the share at which it comes out as it went in, and fresh seeds are trained at that share.
About two minutes on two quiet cores; the same command again goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from mixopt.advice import advise
from mixopt.analysis.critical_share import Critical, continual_runs, critical_of, with_old_share
from mixopt.space import Mixture, geometry_of
from mixopt.space.effect import Effect
from mixopt.study.comparisons import finished_runs
from mixopt.study.cost import trained_tokens
from mixopt.tune import Progress
from mixopt.tune.analysis_jobs import run_comparison
from mixopt.tune.job import Job

HERE = Path(__file__).parent
SHARES = (0.1, 0.3, 0.5, 0.8)
SEEDS = 3
OLD = {"cpp": 0.5, "prose": 0.5}
NEW = {"python": 1.0}


def drawn(found: Critical, path: Path) -> None:
    """A figure of the rises of the old loss, their law, and the share at which there is none."""
    order = np.argsort(found.shares)
    shares, fitted = np.array(found.shares)[order], np.array(found.fitted)[order]
    figure = go.Figure(layout={"xaxis": {"title": "share of old data"}})
    figure.add_scatter(x=found.shares, y=found.rises, mode="markers", name="runs")
    figure.add_scatter(x=shares, y=fitted, mode="lines", name="law")
    figure.add_vrect(x0=found.low, x1=found.high, opacity=0.2, fillcolor="green", line_width=0)
    figure.update_yaxes(title="rise of the old loss, nats/token")
    figure.write_html(path)
    print(f"wrote {path}")


def main() -> None:
    """Train at four shares, predict the critical one, and train at it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("runs/continual_pretraining"))
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    job = Job.open(HERE / "study.yaml", given.out)
    job.prepare(print)
    study = job.study
    # The rules of the space, with its mixtures.
    geometry = geometry_of(study.space)
    template = geometry.decode(geometry.encode(study.space.baseline_schedule))
    for advice in advise(template, pretrained_on=None):
        print(f"{advice.level}: {advice.message} ({advice.source})")

    def train(shares: tuple[float, ...], seeds: int) -> tuple[str, ...]:
        old, new = Mixture(OLD), Mixture(NEW)
        made = {f"old {s:.3f}": with_old_share(template, s, old, new) for s in shares}
        done = run_comparison(job, study, made, seeds, Progress())
        for label, runs in done.items():
            names = ("cpp", "prose", "python")
            shown = {n: np.mean([r[n] for r in runs.values()]) for n in names}
            print(label, " ".join(f"{n} {v:.4f}" for n, v in shown.items()))
        found = finished_runs(study.state(), made)
        return tuple(r.trial.id for runs in found.values() for r in runs.values())

    runs = continual_runs(study, OLD, train(SHARES, SEEDS))
    found = critical_of(runs.shares, runs.rises)
    print(
        f"critical share {found.critical_share:.3f} [{found.low:.3f}, {found.high:.3f}], "
        f"noise of one run {found.noise_sd:.4f}"
    )
    drawn(found, job.out / "critical_share.html")
    # Fresh seeds: twice as many, of which the first half is left out.
    at = train((found.critical_share,), 2 * SEEDS)[SEEDS:]
    measured = Effect.of(continual_runs(study, OLD, at).rises.tolist())
    apart = float(np.hypot(found.band, measured.high - measured.mean))
    print(
        f"old loss over the base's at it: predicted 0 ± {found.band:.4f}, measured "
        f"{measured.mean:+.4f} [{measured.low:+.4f}, {measured.high:+.4f}]"
    )
    cost = trained_tokens(study.state())
    print(cost)
    if given.results:
        results = {
            "command": "python examples/continual_pretraining/run.py",
            **found.model_dump(),
            "measured rise at it": measured.model_dump(),
            "tokens": {"of the schedules": cost.scheduled, "trained": cost.trained},
        }
        given.results.parent.mkdir(parents=True, exist_ok=True)
        part = given.results.with_suffix(".part")
        part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        os.replace(part, given.results)

    # What the example is there to show.
    assert 0 < found.critical_share < 1
    assert abs(measured.mean) <= apart, "predicted and measured must agree within the interval"
    assert cost.trained < 0.75 * cost.scheduled, "the base must be shared"


if __name__ == "__main__":
    main()
