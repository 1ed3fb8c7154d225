"""Published recipes as named alternatives: RegMix, olmix, CLIMB, and random draws.

None of them knows guardrails. Here each takes what the surrogate predicts to keep them with the
confidence asked for, in its own order, and only then what breaks them least; olmix has them in its
program too, by its own law.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import StudyError
from mixopt.propose.candidates.distance import NEAR, Known, design_features
from mixopt.propose.candidates.pool import around, by_choice, draws
from mixopt.propose.problem import Problem, evaluate
from mixopt.space import Geometry

Array = NDArray[np.float64]

#: A chance constraint counts as kept when broken by less than this (nats/token).
KEPT = 1e-4

#: Rows whose guardrails are judged at once.
CHUNK = 2048


def take_fresh(rows: Array, q: int, known: Known) -> list[Array]:
    """The first q rows, in order, that are no near-duplicates of known ones.

    Raises:
        StudyError: If there are not as many.
    """
    gap = known.gap(rows)
    kept: list[Array] = []
    for row, far in zip(rows, gap, strict=True):
        if len(kept) == q:
            break
        if far >= NEAR and known.fresh(row):
            known.add(row)
            kept.append(row)
    if len(kept) < q:
        raise StudyError(
            f"only {len(kept)} of {q} new schedules were found that differ from those tried by at "
            f"least {NEAR:.0%} of the tokens",
            "loosen the bounds, or ask for fewer trials",
        )
    return kept


def kept_first(problem: Problem, rows: Array, rng: np.random.Generator, enough: int) -> Array:
    """Rows in their order, those that keep the guardrails first, then the least broken.

    Args:
        problem: Its surrogate judges.
        rows: ``n x D``, best first.
        rng: Seeds the draws that judge.
        enough: Kept rows after which no more are judged; the rest is left out.
    """
    if not problem.objective.guardrails:
        return rows
    broken = problem.broken(int(rng.integers(2**31)))
    amounts: list[Array] = []
    for start in range(0, len(rows), CHUNK):
        amounts.append(evaluate(broken, rows[start : start + CHUNK]))
        if (np.concatenate(amounts) <= KEPT).sum() >= enough:
            break
    over = np.concatenate(amounts)
    return rows[np.argsort(np.where(over <= KEPT, 0.0, over), kind="stable")]


def random(problem: Problem, q: int, rng: np.random.Generator, known: Known) -> list[Array]:
    """Random feasible schedules, faces included."""
    pool = draws(problem.geometry, 64 + 16 * q, rng)
    return take_fresh(kept_first(problem, pool, rng, len(pool)), q, known)


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError:
        raise StudyError(
            "the recipes regmix and climb need lightgbm, which is not installed",
            "pip install 'mixopt[bench]'",
        ) from None
    return lightgbm


def _boosted(problem: Problem, pool: Array, settings: dict[str, Any]) -> Array:
    """The objective at the pool, predicted by one LightGBM per metric."""
    lightgbm = _lightgbm()
    layout = problem.layout
    seen, wanted = design_features(layout, problem.X) ** 2, design_features(layout, pool) ** 2
    total = np.zeros(len(pool))
    for i in np.flatnonzero(problem.weights):
        data = lightgbm.Dataset(seen, problem.evidence.Y[:, i], params={"verbose": -1})
        common = {"verbose": -1, "num_threads": 1, "seed": 42, "deterministic": True}
        model = lightgbm.train({**common, **settings}, data, num_boost_round=1000)
        total += problem.weights[i] * model.predict(wanted)
    return total


def regmix(problem: Problem, q: int, rng: np.random.Generator, known: Known) -> list[Array]:
    """Mean of the 128 best of many draws by LightGBM (arXiv 2407.01492), then the best draws."""
    pool = draws(problem.geometry, 20_000, rng)
    order = np.argsort(_boosted(problem, pool, {"learning_rate": 0.01}), kind="stable")
    pool = kept_first(problem, pool[order], rng, 256 + 16 * q)
    _, F = problem.layout.split(pool)
    # A mean is feasible within one choice of fractions only: the polytope is convex there.
    alike = (F[0] == F).all(1)
    mean = pool[alike][:128].mean(0)
    return take_fresh(kept_first(problem, np.vstack([mean[None], pool]), rng, 16 * q), q, known)


def climb(problem: Problem, q: int, rng: np.random.Generator, known: Known) -> list[Array]:
    """Random picks among the best predicted by shallow LightGBM (CLIMB, arXiv 2504.13161)."""
    pool = draws(problem.geometry, 4_000, rng)
    settings = {"learning_rate": 0.01, "max_depth": 4, "num_leaves": 15, "min_data_in_leaf": 5}
    order = np.argsort(_boosted(problem, pool, settings), kind="stable")
    top = max(100, 8 * q)
    pool = kept_first(problem, pool[order], rng, 2 * top)
    some = rng.permutation(np.arange(len(pool))[:top])
    rows = pool[np.append(some, np.arange(len(pool)))]
    return take_fresh(kept_first(problem, rows, rng, len(rows)), q, known)


def olmix(problem: Problem, q: int, rng: np.random.Generator, known: Known) -> list[Array]:
    """A log-linear law per metric, minimised with a KL term to the baseline (olmix's recipe).

    The law is L = c + exp(z . a), z the exposure (and the ending's share of it); the program
    min sum_i w_i exp(z . a_i) + 0.05 KL(exposure | baseline) is convex at given fractions. Its
    answers are followed by draws around them, since the recipe names one mixture only. Guardrails
    are upper limits on single metrics of the law, which keep the program convex; where it allows
    none, the baseline stands for its answer.
    """
    found = sorted(_programs(problem), key=lambda pair: pair[0])
    best = np.array([row for _, row in found] or [problem.baseline])
    near = around(problem.geometry, best[:1], 64 + 16 * q, rng)
    rows = np.vstack([best[:1], near])
    if problem.objective.guardrails:
        rows = np.vstack([rows, draws(problem.geometry, 256, rng)])
    return take_fresh(kept_first(problem, rows, rng, len(rows)), q, known)


def _cvxpy() -> Any:
    try:
        import cvxpy
    except ImportError:
        raise StudyError(
            "the recipe olmix needs cvxpy, which is not installed", "pip install 'mixopt[bench]'"
        ) from None
    return cvxpy


def _programs(problem: Problem) -> list[tuple[float, Array]]:
    cp = _cvxpy()
    geometry = problem.geometry
    A, floors = _log_linear(_linear(geometry, problem.X), problem.evidence.Y)
    baseline = _linear(geometry, problem.baseline[None])[0]
    base = np.maximum(baseline[: geometry.layout.domains], 1e-6)
    rails = _log_limits(problem, A, floors, baseline)
    if rails is None:
        return []
    out = []
    for fractions in geometry.fraction_choices:
        polytope = geometry.polytope(fractions)
        eye = np.eye(polytope.dim)
        M = _linear(geometry, geometry.rows(fractions, eye)).T
        x = cp.Variable(polytope.dim)
        z = M @ x
        loss = problem.weights @ cp.exp(A[:, 0] + A[:, 1:] @ z)
        kl = cp.sum(cp.kl_div(z[: len(base)], base))
        limits = [polytope.A @ x <= polytope.b, polytope.E @ x == polytope.e]
        limits += [A[i, 0] + A[i, 1:] @ z <= most for i, most in rails]
        program = cp.Problem(cp.Minimize(loss + 0.05 * kl), limits)
        value = program.solve(solver=cp.CLARABEL)
        if rails and program.status in {"infeasible", "infeasible_inaccurate"}:
            continue
        if program.status not in {"optimal", "optimal_inaccurate"}:
            raise StudyError(
                f"olmix's convex program ended as {program.status!r}", "use the method thompson"
            )
        out.append((float(value), by_choice(geometry, np.array([fractions]), x.value[None])[0]))
    return out


def _log_limits(
    problem: Problem, A: Array, floors: Array, baseline: Array
) -> list[tuple[int, float]] | None:
    """Metric and greatest ``log(L - c)`` of each guardrail; None where one lies under a floor."""
    out = []
    for rail in problem.objective.guardrails:
        i = problem.evidence.metrics.index(rail.metric)
        room = np.exp(A[i, 0] + A[i, 1:] @ baseline) + rail.slack
        if rail.bound is not None:
            room = rail.bound - floors[i]
        if room <= 0:
            return None
        out.append((i, float(np.log(room))))
    return out


def _linear(geometry: Geometry, X: Array) -> Array:
    """What the law is linear in, given the fractions: exposure, and the last phase's part of it."""
    W, F = geometry.layout.split(X)
    parts = W * F[..., None]
    exposure = parts.sum(1)
    return np.asarray(exposure if W.shape[1] == 1 else np.hstack([exposure, parts[:, -1]]))


def _log_linear(z: Array, Y: Array) -> tuple[Array, Array]:
    """Intercept and slopes ``m x (1 + f)`` of log(L - c), and the floors c scanned per metric."""
    Z = np.hstack([np.ones((len(z), 1)), z])
    fits, lows = [], []
    for y in Y.T:
        floors = y.min() - np.maximum(np.ptp(y), 1e-9) * np.array([0.02, 0.1, 0.3, 1.0, 3.0])
        best, slopes, least = np.inf, np.zeros(Z.shape[1]), 0.0
        for floor in floors:
            target = np.log(y - floor)
            a = np.linalg.solve(Z.T @ Z + 1e-3 * np.eye(Z.shape[1]), Z.T @ target)
            error = ((floor + np.exp(Z @ a) - y) ** 2).sum()
            if error < best:
                best, slopes, least = error, a, float(floor)
        fits.append(slopes)
        lows.append(least)
    return np.array(fits), np.array(lows)
