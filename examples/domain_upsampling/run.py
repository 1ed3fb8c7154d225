"""Fixed rich endings of 0 to 30 % against a searched ending, on real text with small models.

    python examples/domain_upsampling/run.py [--out runs/domain_upsampling] [--results FILE]

Every ending branches off the trunk of its seed. The search sees the validation split only; what is
reported is measured on the confirmation split with three fresh seeds. About five minutes on two
quiet cores; the same command again goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

from mixopt.analysis.controls import (
    BASE,
    SCHEDULE,
    STATIC,
    Controls,
    control_schedules,
    controls,
)
from mixopt.analysis.tradeoff import TradeOff
from mixopt.report.effects import controls_table
from mixopt.report.terminal import render
from mixopt.report.tradeoff_page import trade_off_table, write_trade_off
from mixopt.space import Schedule
from mixopt.study.comparisons import OBJECTIVE, paired_effects
from mixopt.study.cost import trained_tokens
from mixopt.tune import Progress
from mixopt.tune.analysis_jobs import run_comparison, trade_off_job
from mixopt.tune.job import Job, run_job

HERE = Path(__file__).parent
SEEDS = 3
FRACTIONS = (0.05, 0.1, 0.2, 0.3)
# 30 % of the base mixture, and 35 % each of what is wanted.
RICH = {"python": 0.404, "cpp": 0.135, "prose": 0.096, "stubs": 0.362, "data": 0.003}
TARGET = {"python": 0.5, "stubs": 0.5}
GENERAL = {"cpp": 0.5, "prose": 0.5}


def weighted(values: dict[str, float]) -> dict[str, float]:
    """The objective with target and general, of one run."""
    sums = {"target": TARGET, "general": GENERAL}
    found = {k: sum(w * values[n] for n, w in ws.items()) for k, ws in sums.items()}
    return {OBJECTIVE: values[OBJECTIVE], **found}


def trained(job: Job, searched: Schedule) -> tuple[dict[str, Schedule], dict]:
    """The controls' schedules; per label every seed's metrics on the confirmation split."""
    study = job.existing_study()
    base, made = study.space.baseline_schedule, control_schedules(searched)
    schedules = {"base": base}
    for fraction in FRACTIONS:
        schedules[f"fixed {fraction:.0%}"] = Schedule.two_phase(
            base.base, RICH, fraction, base.learning_rate
        )
    schedules |= {"searched": searched, "static": made[STATIC]}
    return made, run_comparison(job, study, schedules, SEEDS, Progress())


def print_effects(against: dict) -> None:
    """Every ending against the base mixture, one line each."""
    headings = "".join(f"{n:>26}" for n in ("objective", "target", "general"))
    print(f"{'against the base':<16}{headings}")
    for label, effects in against.items():
        cells = "".join(f"{e.mean:+10.4f} [{e.low:+.3f}, {e.high:+.3f}]" for e in effects.values())
        print(f"{label:<16}{cells}")


def show(job: Job, cause: Controls, curve: TradeOff) -> None:
    """Tables and figure of what order and exposure do, and of the trade-off."""
    from rich.console import Console

    console = Console(width=120)
    console.print(render(controls_table(cause)), render(trade_off_table(curve)))
    print(f"wrote {write_trade_off(curve, job.out)}")


def written(path: Path, results: dict) -> None:
    """Keep the results, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def main() -> None:
    """Search, confirm beside the fixed endings, and hold the claims to the numbers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("runs/domain_upsampling"))
    parser.add_argument("--results", type=Path)
    given, began = parser.parse_args(), time.time()
    job = Job.open(HERE / "study.yaml", given.out)
    searched = run_job(job, say=print, progress=Progress()).recommendation.schedule
    made, values = trained(job, searched)
    print(f"\nwall time {time.time() - began:.0f} s")

    sums = {
        label: {seed: weighted(v) for seed, v in runs.items()} for label, runs in values.items()
    }
    against = {k: paired_effects(v, sums["base"]) for k, v in sums.items() if k != "base"}
    print_effects(against)
    fixed = [k for k in against if k.startswith("fixed")]
    best = min(fixed, key=lambda k: against[k][OBJECTIVE].mean)
    gap = paired_effects(sums["searched"], sums[best])[OBJECTIVE]
    study = job.existing_study()
    trials, runs = study.spent().trials, len(fixed) * SEEDS + SEEDS
    print(
        f"searched - {best}: {gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}], "
        f"{trials} search trials against {runs} fixed runs"
    )
    cause = controls(
        made, {SCHEDULE: values["searched"], BASE: values["base"], STATIC: values["static"]}
    )
    curve = trade_off_job(job, TARGET, GENERAL, slack=0.1)
    show(job, cause, curve)
    cost = trained_tokens(study.state())
    print(cost)
    results = {
        "command": "python examples/domain_upsampling/run.py",
        "searched": searched.model_dump(mode="json"),
        "against base": _plain(against),
        "best fixed": best,
        "searched - best fixed": gap.model_dump(),
        "search trials": trials,
        "fixed runs": runs,
        **_caused(cause, curve),
        "tokens": {"of the schedules": cost.scheduled, "trained": cost.trained},
        "values": values,
    }
    if given.results:
        written(given.results, results)

    # What the example is there to show.
    assert gap.low <= 0, "the searched ending must not be clearly worse than the best fixed one"
    assert trials < runs
    assert against["searched"][OBJECTIVE].high < 0, "an ending must beat the base mixture clearly"
    assert cost.trained < 0.75 * cost.scheduled, "trunks must be shared"


def _caused(cause: Controls, curve: TradeOff) -> dict:
    return {
        "order": _plain({"x": cause.order})["x"],
        "exposure": _plain({"x": cause.exposure})["x"],
        "order share": cause.order_share,
        "trade-off": [c.model_dump(mode="json") for c in curve.levels],
        "chosen at slack 0.1": curve.chosen.model_dump(mode="json"),
    }


def _plain(effects: dict) -> dict:
    return {k: {n: e.model_dump() for n, e in v.items()} for k, v in effects.items()}


if __name__ == "__main__":
    main()
