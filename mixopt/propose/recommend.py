"""The final recommendation: cautious, within its guardrails, beside what it is compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from mixopt.propose.assess.notes import notes
from mixopt.propose.candidates.distance import schedule_distance
from mixopt.propose.candidates.refine import refine
from mixopt.propose.candidates.starts import spread_best, starting_rows
from mixopt.propose.evidence import Evidence
from mixopt.propose.problem import KEPT, Problem, Score, evaluate
from mixopt.propose.recommendation import (
    Differences,
    Estimate,
    GuardrailCheck,
    Observed,
    Recommendation,
    TradeOffPoint,
)
from mixopt.propose.torch_threads import one_thread
from mixopt.space import Mixture, Objective, Schedule, SearchSpace
from mixopt.steps import step
from mixopt.surrogate.protocol import SurrogateModel

Array = NDArray[np.float64]


@one_thread
@step("choosing the schedule")
def recommend(
    space: SearchSpace,
    objective: Objective,
    surrogate: SurrogateModel,
    evidence: Evidence,
    *,
    seed: int,
    caution: float = 1.0,
) -> Recommendation:
    """The schedule to train with, and what is to be expected of it.

    The rule: over every choice of fractions alike, static schedules among them, minimise the
    predicted objective plus ``caution`` standard deviations (where the surrogate would have to
    extrapolate its standard deviation grows, so this is a soft trust region), among the schedules
    that keep the guardrails with the confidence asked for. Where none does, it is the baseline.

    Args:
        space: What can be chosen.
        objective: To minimise.
        surrogate: Fitted to the evidence.
        evidence: Finished trials.
        seed: Of the draws.
        caution: Standard deviations added to the mean.

    Raises:
        StudyError: If the evidence does not fit the space or the objective.
    """
    problem = Problem.of(space, objective, surrogate, evidence)
    rng = np.random.default_rng(seed)
    narrow = problem.narrowed()
    pool = np.vstack(starting_rows(narrow, rng))
    broken = narrow.broken(seed)
    score = narrow.penalised(narrow.cautious(caution), seed)
    levels = _per_choice(narrow, pool, score)
    chosen, found = _chosen(narrow, levels, score, broken)
    return _assembled(problem, chosen, levels, found)


def _per_choice(problem: Problem, pool: Array, score: Score) -> list[tuple[float, Array, float]]:
    """Upsample fraction, best row and score for each length of the last phase."""
    values = evaluate(score, pool)
    _, F = problem.layout.split(pool)
    last = _upsample(F)
    starts = []
    for level in np.unique(last):
        rows = np.flatnonzero(last == level)
        starts.append(pool[rows[spread_best(problem, pool[rows], values[rows], 5)]])
    X, value = refine(problem.geometry, np.vstack(starts), score, steps=80)
    level_of = _upsample(problem.layout.split(X)[1])
    out = []
    for level in np.unique(level_of):
        rows = np.flatnonzero(level_of == level)
        best = rows[int(np.argmin(value[rows]))]
        out.append((float(level), X[best], float(value[best])))
    return out


def _upsample(F: Array) -> Array:
    """Share of tokens in the last phase that exists, 0 where there is one."""
    one = (F > 1e-9).sum(1) == 1
    last = F.shape[1] - 1 - np.argmax(F[:, ::-1] > 1e-9, axis=1)
    return np.where(one, 0.0, np.round(F[np.arange(len(F)), last], 10))


def _chosen(
    problem: Problem, levels: list[tuple[float, Array, float]], score: Score, broken: Score
) -> tuple[Array, bool]:
    """The best row that keeps the guardrails, and whether there is one."""
    rows = np.array([row for _, row, _ in levels])
    kept = evaluate(broken, rows) <= KEPT
    if not kept.any():
        return problem.baseline, False
    values = np.where(kept, evaluate(score, rows), np.inf)
    return rows[int(np.argmin(values))], True


def estimates_at(problem: Problem, row: Array) -> tuple[Estimate, dict[str, Estimate]]:
    """The objective and every metric at one row."""
    mean, sd = problem.moments(row[None])
    value, spread = problem.expected(row[None])
    metrics = {
        name: Estimate.of(m, s)
        for name, m, s in zip(problem.evidence.metrics, mean[0], sd[0], strict=True)
    }
    return Estimate.of(problem.sign * value[0], spread[0]), metrics


def _references(problem: Problem) -> dict[str, Array]:
    """Rows of the natural mixture, where it is known, and of the uniform one."""
    known = all(domain.tokens is not None for domain in problem.original.space.domains)
    mixtures: dict[str, Mixture] = {"natural": problem.space.natural} if known else {}
    mixtures["uniform"] = problem.space.uniform
    return {name: problem.encode(Schedule.static(m)) for name, m in mixtures.items()}


def _differences(problem: Problem, rows: dict[str, Array]) -> Differences:
    """The objective at some rows minus the baseline's, under their joint posterior."""
    mean, sd = problem.minus_baseline(np.vstack(list(rows.values())))
    found = map(Estimate.of, problem.sign * mean, sd)
    return Differences(**dict(zip(rows, found, strict=True)))


def _guardrails(problem: Problem, row: Array) -> tuple[GuardrailCheck, ...]:
    rails = problem.objective.guardrails
    if not rails:
        return ()
    mean, cov = problem.together(np.vstack([row, problem.baseline]))
    _, metrics = estimates_at(problem, row)
    _, base = estimates_at(problem, problem.baseline)
    out = []
    for rail in rails:
        i = problem.evidence.metrics.index(rail.metric)
        relative, worse = rail.bound is None, problem.objective.kind_of(rail.metric).sign
        slack = worse * rail.slack
        limit = base[rail.metric].mean + slack if rail.bound is None else rail.bound
        own = np.array([1.0, -1.0 if relative else 0.0])
        over = worse * (own @ mean[:, i] - (slack if relative else limit))
        sd = np.sqrt(max(own @ cov[:, i, :, i] @ own, 1e-12))
        out.append(
            GuardrailCheck(
                metric=rail.metric,
                limit=limit,
                at_least=worse < 0,
                predicted=metrics[rail.metric],
                probability=float(norm.cdf((KEPT - over) / sd)),
                confidence=rail.confidence,
            )
        )
    return tuple(out)


def _assembled(
    problem: Problem,
    row: Array,
    levels: list[tuple[float, Array, float]],
    found: bool,
) -> Recommendation:
    schedule, space = problem.decode(row), problem.original.space
    predicted, metrics = estimates_at(problem, row)
    baseline, baseline_metrics = estimates_at(problem, problem.baseline)
    best = problem.best
    references = _references(problem)
    of_reference = {name: estimates_at(problem, x)[0] for name, x in references.items()}
    epochs = schedule.epochs(space.target.tokens, space.supply) if space.target else {}
    same = schedule_distance(problem.layout, problem.X, problem.baseline[None])[:, 0] < 1e-6
    same &= problem.evidence.measured
    rails = _guardrails(problem, row)
    return Recommendation(
        schedule=schedule,
        predicted=predicted,
        best_observed=Observed(
            trial=problem.evidence.ids[best],
            value=problem.sign * float(problem.y[best]),
            schedule=problem.decode(problem.X[best]),
        ),
        baseline=baseline,
        differences=_differences(problem, {"predicted": row, **references}),
        noise_sd=problem.noise,
        baseline_observed=problem.sign * float(problem.y[same].mean()) if same.any() else None,
        baseline_runs=int(same.sum()),
        **of_reference,
        metrics=metrics,
        baseline_metrics=baseline_metrics,
        upsampling_ratio=schedule.upsampling_ratio(),
        epochs=epochs,
        static_control=Schedule.static(schedule.exposure(), schedule.learning_rate),
        trade_off=tuple(_trade_off(problem, level, at) for level, at, _ in levels),
        guardrails=rails,
        notes=notes(problem, row, epochs, rails, found=found),
        surrogate=problem.surrogate.report(),
        goal=problem.objective.goal,
        unit=problem.objective.unit,
        word=problem.objective.word,
    )


def _trade_off(problem: Problem, level: float, row: Array) -> TradeOffPoint:
    objective, metrics = estimates_at(problem, row)
    return TradeOffPoint(
        upsample_fraction=level,
        schedule=problem.decode(row),
        objective=objective,
        metrics=metrics,
    )
