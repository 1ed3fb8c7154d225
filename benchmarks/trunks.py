"""FLOPs to a regret, with trunks reused by worth per FLOP, by a fixed third, and never.

Two-phase studies on landscapes whose truth is known: losses fall with the recency-weighted share of
the domains that a metric can use, with noise. The base mixture is free, so a new one costs a whole
run; an ending off a known trunk costs its own phase. Regret is that of the schedule with the least
expected objective, against the best of many drawn schedules improved by gradient.

    python benchmarks/trunks.py [--late 0.5 0.8] > benchmarks/results/trunks_late.json
    python benchmarks/trunks.py --late 0.2 0.5 > benchmarks/results/trunks_early.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

import numpy as np
import torch

from mixopt.propose import Evidence, Sharing, initial_design, propose_batch
from mixopt.propose.acquisition import thompson as thompson_module
from mixopt.propose.candidates.refine import refine
from mixopt.propose.candidates.starts import starting_rows
from mixopt.propose.problem import Problem, evaluate
from mixopt.space import Geometry, Objective, PhaseSpace, Schedule, SearchSpace, geometry_of
from mixopt.space.sharing import share_to_train
from mixopt.surrogate import SurrogateSettings, fit_surrogate

DOMAINS = ("books", "code", "forum", "math", "web")
POINTS = (0.7, 0.8, 0.9)
NOISE = 0.002
QUICK = SurrogateSettings(restarts=2, iterations=60, laws=(), gp_iterations=40, folds=0)
#: Whole runs of FLOPs after which regrets are compared.
SPENT = (8, 12, 16, 20, 24)
METHODS = ("per FLOP", "a third", "never")


def make_space() -> SearchSpace:
    """Free base, endings of 0 to 30 % that keep at least a fifth of web."""
    ending = PhaseSpace(name="ending", fraction=(0.0, 0.1, 0.2, 0.3), bounds={"web": (0.2, 1.0)})
    return SearchSpace(domains=DOMAINS, phases=(PhaseSpace(), ending), baseline="uniform")


def landscape(seed: int, late: tuple[float, float]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Losses ``n x 5`` of weights: 2 + .5 (.05 + use . mixture)^-.4, late tokens counting more."""
    rng = np.random.default_rng([17, seed])
    use = rng.uniform(0.0, 0.25, (5, 5))
    np.fill_diagonal(use, 1.0)
    table, weight = torch.as_tensor(use), float(rng.uniform(*late))
    layout = geometry_of(make_space()).layout

    def losses(X: torch.Tensor) -> torch.Tensor:
        W, F = layout.split(X)
        exposure = (W * F[..., None]).sum(-2)
        last = torch.where(F[..., -1:] > 1e-9, W[..., -1, :], W[..., 0, :])
        z = (1 - weight) * exposure + weight * last
        return 2 + 0.5 * (0.05 + z @ table.T) ** -0.4

    return losses


def best_value(
    geometry: Geometry, truth: Callable[[torch.Tensor], torch.Tensor], w: torch.Tensor
) -> float:
    """The least true objective."""
    X = geometry.sample(400, np.random.default_rng(0), vertices=0.5)
    value = evaluate(lambda Z: truth(Z) @ w, X)
    _, found = refine(geometry, X[np.argsort(value)[:24]], lambda Z: truth(Z) @ w, steps=150)
    return float(found.min())


def every_third() -> Callable[..., np.ndarray]:
    """The rule that stood before: every third draw is minimised over endings off known trunks."""
    count = iter(range(10**6))

    def paying(
        problem: Problem, decision: object, score: object, both: list[np.ndarray]
    ) -> np.ndarray:
        del problem, decision, score
        return both[int(next(count) % 3 == 2 and len(both[1]) > 0)]

    return paying


def run(
    method: str, seed: int, late: tuple[float, float], rounds: int, size: int
) -> list[tuple[float, float]]:
    """Whole runs' worth of FLOPs trained and regret, after every round."""
    space, truth = make_space(), landscape(seed, late)
    geometry = geometry_of(space)
    goal = np.random.default_rng([5, seed]).dirichlet(np.ones(5))
    objective = Objective(weights=dict(zip(DOMAINS, (goal / goal.sum()).tolist(), strict=True)))
    w = torch.as_tensor(objective.coefficients(list(DOMAINS)))
    least, noise = best_value(geometry, truth, w), np.random.default_rng([9, seed])
    schedules: list[Schedule] = []
    Y, spent, out = np.empty((0, 5)), 0.0, []
    new = initial_design(space, 8, seed=seed, include=[space.baseline_schedule])
    for number in range(rounds + 1):
        for schedule in new:
            spent += share_to_train(schedule, schedules, POINTS)
            schedules.append(schedule)
        rows = np.array([geometry.encode(s) for s in new])
        true = truth(torch.as_tensor(rows)).numpy()
        Y = np.vstack([Y, true + NOISE * noise.standard_normal(true.shape)])
        X = np.array([geometry.encode(s) for s in schedules])
        evidence = Evidence(X, Y, DOMAINS, tuple(map(str, range(len(X)))))
        fitted = fit_surrogate(geometry.layout, X, Y, DOMAINS, DOMAINS, settings=QUICK, seed=seed)
        problem = Problem.of(space, objective, fitted, evidence)
        pool = np.vstack(starting_rows(problem, np.random.default_rng(seed), 512))
        score = problem.cautious(1.0)
        start = pool[np.argsort(evaluate(score, pool))[:4]]
        found, value = refine(problem.geometry, start, score)
        row = torch.as_tensor(found[[int(np.argmin(value))]])
        out.append((spent, float((truth(row) @ w)[0]) - least))
        if number < rounds:
            sharing = Sharing(possible=method != "never", branch_points=POINTS)
            new = propose_batch(
                space, objective, fitted, evidence, size, seed=1000 * seed + number, sharing=sharing
            )
    return out


def flops_to(curve: list[tuple[float, float]], regret: float) -> float:
    """Whole runs until the regret stays at or under a level; infinite if it never does."""
    for index, (spent, _) in enumerate(curve):
        if all(r <= regret for _, r in curve[index:]):
            return spent
    return float("inf")


def log_regret_at(curve: list[tuple[float, float]], spent: float) -> float:
    """Log of the regret after so many whole runs: that of the last round they paid for."""
    return float(np.log([max(r, 1e-5) for s, r in curve if s <= spent][-1]))


def compared(curves: dict[str, list[list[tuple[float, float]]]]) -> dict[str, dict[str, object]]:
    """Geometric mean regret at equal FLOPs, and its ratio to ``never``'s, paired by seed."""
    out: dict[str, dict[str, object]] = {}
    for name, levels in {**{str(s): (s,) for s in SPENT}, "mean of them": SPENT}.items():
        at = {
            m: np.array([np.mean([log_regret_at(c, s) for s in levels]) for c in found])
            for m, found in curves.items()
        }
        for method, values in at.items():
            gap = values - at["never"]
            half = 2 * gap.std(ddof=1) / len(gap) ** 0.5
            out.setdefault(name, {})[method] = {
                "regret": round(float(np.exp(values.mean())), 5),
                "ratio": [round(float(np.exp(gap.mean() + k * half)), 3) for k in (0, -1, 1)],
            }
    return out


def main() -> None:
    """Print the JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--late", type=float, nargs=2, default=(0.5, 0.8))
    args = parser.parse_args()
    torch.set_num_threads(1)
    paying, curves = thompson_module._paying, {}
    for method in METHODS:
        curves[method] = []
        for seed in range(args.seeds):
            thompson_module._paying = every_third() if method == "a third" else paying
            curves[method].append(run(method, seed, tuple(args.late), args.rounds, args.batch))
            print(method, seed, curves[method][-1][-1], file=sys.stderr, flush=True)
    levels = (0.01, 0.005, 0.0025)
    print(
        json.dumps(
            {
                "command": f"python benchmarks/trunks.py --seeds {args.seeds} --rounds "
                f"{args.rounds} --batch {args.batch} --late {args.late[0]} {args.late[1]}",
                "whole runs to a regret (median)": {
                    m: {str(v): float(np.median([flops_to(c, v) for c in found])) for v in levels}
                    for m, found in curves.items()
                },
                "regret after so many whole runs of FLOPs, and ratio to never": compared(curves),
                "curves": curves,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
