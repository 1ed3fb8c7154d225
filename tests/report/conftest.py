"""A finished two-phase study and its recommendation, by hand."""

import datetime

import numpy as np
import pandas as pd
import pytest

from mixopt.analysis.responses import DomainEffect, Responses, Slice, Ternary
from mixopt.propose import (
    Confirmation,
    Differences,
    Estimate,
    GuardrailCheck,
    Observed,
    Recommendation,
    TradeOffPoint,
)
from mixopt.report import ReportData
from mixopt.space import Fidelity, Objective, Schedule, SearchSpace

BASE = {"python": 0.3, "cpp": 0.25, "prose": 0.35, "stubs": 0.1, "data": 0.0}
RICH = {"python": 0.5, "cpp": 0.0, "prose": 0.25, "stubs": 0.2, "data": 0.05}


def make_space(phases: int = 2, **more) -> SearchSpace:
    supply = {"python": 2.6e6, "cpp": 5.9e6, "prose": 7.3e6, "stubs": 7e5, "data": 1.5e5}
    ending = [{"name": "ending", "fraction": [0, 0.1, 0.2, 0.3]}]
    return SearchSpace.model_validate(
        {
            "name": "local",
            "domains": {name: {"tokens": int(v)} for name, v in supply.items()},
            "phases": [{"name": "base"}, *ending[: phases - 1]],
            "target": {"parameters": 98_000, "tokens": 6_400_000},
            "max_epochs": 4,
            **more,
        }
    )


def make_trade_off(names) -> tuple[TradeOffPoint, ...]:
    return tuple(
        TradeOffPoint(
            upsample_fraction=f,
            schedule=Schedule.two_phase(BASE, RICH, f),
            objective=Estimate.of(3.16 + 2 * (f - 0.2) ** 2, 0.01 + 0.05 * f),
            metrics={
                n: Estimate.of(3.1 + 0.08 * i + f * (0.4 * i - 0.8), 0.02)
                for i, n in enumerate(names)
            },
        )
        for f in (0.0, 0.1, 0.2, 0.3)
    )


def make_surrogate_rows(names) -> tuple[dict, ...]:
    return tuple(
        {
            "metric": n,
            "weights": {"shared law": 0.6, "warped GP": 0.4},
            "spearman": 0.93,
            "rmse": 0.021,
            "coverage": 0.95,
            "fallback": "" if i else "only 5 different schedules: prior mean and prior width",
        }
        for i, n in enumerate(names)
    )


def make_confirmations(schedule: Schedule) -> tuple[Confirmation, ...]:
    values = {
        "recommendation": (3.17, 3.18, 3.16),
        "baseline": (3.27, 3.29, 3.26),
        "uniform": (3.23, 3.25, 3.22),
        "static": (3.19, 3.2, 3.17),
    }
    return tuple(
        Confirmation.of(
            label,
            schedule,
            dict(enumerate(v)),
            {seed: value - 0.002 for seed, value in enumerate(v)},
            dict(enumerate(values["baseline"])),
        )
        for label, v in values.items()
    )


def make_recommendation(space: SearchSpace, **more) -> Recommendation:
    two = len(space.phases) > 1
    schedule = Schedule.two_phase(BASE, RICH, 0.2 if two else 0)
    metrics = {n: Estimate.of(3.0 + 0.1 * i, 0.02) for i, n in enumerate(space.names)}
    base_metrics = {n: Estimate.of(3.1 + 0.08 * i, 0.02) for i, n in enumerate(space.names)}
    given = {
        "schedule": schedule,
        "predicted": Estimate.of(3.15, 0.012),
        "best_observed": Observed(trial="r02-t03", value=3.172, schedule=schedule),
        "baseline": Estimate.of(3.272, 0.011),
        "baseline_observed": 3.281,
        "baseline_runs": 2,
        "differences": Differences(
            predicted=Estimate.of(-0.122, 0.008),
            uniform=Estimate.of(-0.037, 0.009),
        ),
        "noise_sd": 0.01,
        "uniform": Estimate.of(3.235, 0.012),
        "metrics": metrics,
        "baseline_metrics": base_metrics,
        "upsampling_ratio": schedule.upsampling_ratio(),
        "epochs": schedule.epochs(6_400_000, space.supply),
        "static_control": Schedule.static(schedule.exposure()),
        "trade_off": make_trade_off(space.names)[: 4 if two else 1],
        "guardrails": (
            GuardrailCheck(
                metric="cpp",
                limit=3.2,
                predicted=metrics[space.names[1]],
                probability=0.97,
                confidence=0.9,
            ),
        ),
        "notes": ("python is read 0.8 times; <b>raw</b> & plain.",),
        "surrogate": make_surrogate_rows(space.names),
        "confirmations": make_confirmations(schedule),
    }
    return Recommendation(**{**given, **more})


def make_trials() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for r, (size, level) in enumerate(((10, 3.35), (6, 3.24), (6, 3.2))):
        for t in range(size):
            rows.append(
                {
                    "trial": f"r{r:02d}-t{t:02d}",
                    "round": r,
                    "kind": "initial" if r == 0 else "proposed",
                    "label": "",
                    "state": "finished",
                    "reason": "",
                    "split": "validation",
                    "base/python": 0.6,
                    "base/cpp": 0.4,
                    "ending/python": 1.0,
                    "objective": level + 0.04 * rng.standard_normal(),
                }
            )
    rows.append({**rows[-1], "trial": "r02-t06", "state": "failed", "objective": np.nan})
    rows[-1]["reason"] = "CUDA [/INST] <b>"
    rows.append({**rows[-1], "trial": "r02-t07", "state": "ended_early", "reason": ""})
    for k in range(3):
        row = {"trial": f"c03-baseline-s{k}", "round": 3, "kind": "confirmation"}
        row |= {"reason": "", "split": "confirmation"}
        rows.append({**row, "label": "baseline", "state": "finished", "objective": 3.27})
    frame = pd.DataFrame(rows)
    frame["parameters"] = 98_000
    frame["tokens"], frame["flops"], frame["seconds"] = 400_000, 2.4e11, 14.0
    return frame


def make_responses() -> Responses:
    """Of one phase of three domains and two metrics; one name is markup."""
    near, far = Estimate.of(-0.001, 0.0005), Estimate.of(0.002, 0.001)
    metrics = {"cpp": near, "prose": far}
    effects = tuple(
        DomainEffect("base", name, 0.3, 0.0, 0.8, estimate, metrics)
        for name, estimate in (("python", near), ("cpp", far), ("<b>", near))
    )
    slices = tuple(Slice(e, (0.0, 0.4, 0.8), (far, near, far)) for e in effects)
    points = ((0.8, 0.1, 0.0), (0.0, 0.8, 0.1), (0.1, 0.0, 0.8))
    names = ("python", "cpp", "<b>")
    return Responses(
        effects, slices, Ternary("base", names, 0.9, points, (near, far, near), points[0])
    )


def make_data(**more) -> ReportData:
    space = more.pop("space", None) or make_space()
    trials = make_trials()
    search = trials[(trials["kind"] != "confirmation") & trials["objective"].notna()]
    mean = search["objective"] + 0.02 * np.random.default_rng(1).standard_normal(len(search))
    predictions = pd.DataFrame(
        {
            "trial": search["trial"],
            "value": search["objective"],
            "observed": True,
            "mean": mean,
            "low": mean - 0.05,
            "high": mean + 0.05,
        }
    )
    weights = {"python": 0.6, "prose": 0.2, "cpp": 0.2}
    given = {
        "name": "demo",
        "space": space,
        "objective": Objective(weights=weights),
        "recommendation": make_recommendation(space),
        "trials": trials,
        "predictions": predictions,
        "predictions_how": "out of fold",
        "responses": make_responses(),
        "fidelity": Fidelity(parameters=98_000, tokens=400_000),
        "stop_reason": "the budget of 22 trials is spent",
        "budget": {"trials": 22},
        "seed": 7,
        "date": datetime.date(2026, 11, 20),
    }
    return ReportData(**{**given, **more})


@pytest.fixture
def data() -> ReportData:
    return make_data()
