"""What to know before using a recommendation, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mixopt.advice import advise
from mixopt.laws import worth_per_token
from mixopt.propose.candidates.distance import design_features, schedule_distance
from mixopt.propose.problem import Problem
from mixopt.propose.recommendation import GuardrailCheck

Array = NDArray[np.float64]

#: Probability from which one schedule counts as credibly better than another.
CREDIBLE = 0.9


def notes(
    problem: Problem,
    row: Array,
    epochs: dict[str, float],
    rails: tuple[GuardrailCheck, ...],
    *,
    found: bool,
) -> tuple[str, ...]:
    """All that apply."""
    return (
        *_guardrail_notes(rails, found),
        *_cap_notes(problem, epochs),
        *_repetition_notes(problem, epochs),
        *_constant_notes(problem),
        *_observed_notes(problem, row),
        *_comparison_notes(problem, row),
        *_distance_notes(problem, row),
        *problem.surrogate.repairs,
        *_trust_notes(problem, row),
        *_advice_notes(problem, row),
    )


def _guardrail_notes(rails: tuple[GuardrailCheck, ...], found: bool) -> Iterator[str]:
    if not found:
        yield (
            "No schedule was found that keeps every guardrail with the confidence asked for; this "
            "is the baseline."
        )
    for rail in rails:
        if not rail.holds:
            yield (
                f"The guardrail on {rail.metric} holds with probability {rail.probability:.2f} "
                f"only; {rail.confidence:.2f} was asked for."
            )


def _advice_notes(problem: Problem, row: Array) -> Iterator[str]:
    """What is known about switching data and rates; warnings first, each with its source."""
    for advice in advise(problem.decode(row)):
        yield str(advice)


def _cap_notes(problem: Problem, epochs: dict[str, float]) -> Iterator[str]:
    for domain in problem.space.domains:
        cap = domain.max_epochs if domain.max_epochs is not None else problem.space.max_epochs
        if cap is not None and domain.name in epochs and epochs[domain.name] > 0.99 * cap:
            yield (
                f"{domain.name} is at its cap of {cap:g} epochs at the target; more of it might "
                "help."
            )


def _repetition_notes(problem: Problem, epochs: dict[str, float]) -> Iterator[str]:
    """What repeated tokens were taken to be worth."""
    repeated = problem.original.layout.repetition
    if repeated is None:
        return
    for name, available, r_star in zip(
        problem.original.space.names, repeated.available, repeated.r_star, strict=True
    ):
        read = epochs.get(name, 0.0)
        if read > 1.05 and np.isfinite(available):
            worth = float(worth_per_token(np.array(read), r_star))
            yield (
                f"{name} is read {read:.1f} times at the target, which is taken to be worth "
                f"{worth:.0%} of as many fresh tokens (R* = {r_star:g}, arXiv 2305.16264)."
            )


def _constant_notes(problem: Problem) -> Iterator[str]:
    """Metrics of the objective on which no schedule can be told from another."""
    counted = problem.weights != 0
    constant = counted & (np.ptp(problem.evidence.Y, axis=0) == 0)
    if len(problem.evidence) < 2 or not constant.any():
        return
    names = ", ".join(n for n, c in zip(problem.evidence.metrics, constant, strict=True) if c)
    if (constant == counted).all():
        yield (
            f"Every trial measured the same {names}: the trials say nothing about mixtures, and "
            "this recommendation is arbitrary. Check that the trainer uses the mixture it is given."
        )
    else:
        yield f"Every trial measured the same {names}: it does not influence the recommendation."


def _observed_notes(problem: Problem, row: Array) -> Iterator[str]:
    """A prediction above what was already measured."""
    best = problem.best
    mean = float(problem.expected(row[None])[0][0])
    if mean > problem.y[best] and np.ptp(problem.y) > 0:
        yield (
            f"Its predicted objective ({problem.sign * mean:.4f}) is worse than the best observed "
            f"one ({problem.sign * problem.y[best]:.4f}, trial {problem.evidence.ids[best]}): "
            f"{_reason(problem, best)}"
        )


def _reason(problem: Problem, best: int) -> str:
    if problem.objective.guardrails:
        return "that trial may break a guardrail, and its measurement contains noise."
    mean, sd = problem.expected(problem.X[[best]])
    if problem.y[best] < mean[0] - 2 * np.hypot(sd[0], problem.noise):
        return "the surrogate does not fit that trial; repeat it before choosing."
    return "that measurement contains noise of a single run, which the prediction does not."


@dataclass(frozen=True)
class _Compared:
    """A schedule that the recommendation is compared with."""

    name: str
    row: Array
    safer: bool


def _comparison_notes(problem: Problem, row: Array) -> Iterator[str]:
    seen = problem.X[problem.evidence.measured]
    best = seen[int(np.argmin(problem.expected(seen)[0]))]
    compared = (
        _Compared("the best observed schedule", best, safer=True),
        _Compared("the baseline", problem.baseline, safer=False),
    )
    rows = np.vstack([row, *(other.row for other in compared)])
    path = problem.paths(256, 0)
    with torch.no_grad():
        values = path(torch.as_tensor(rows)).numpy() @ problem.weights
    for index, other in enumerate(compared, start=1):
        if schedule_distance(problem.layout, row[None], rows[[index]])[0, 0] < 1e-6:
            yield f"The recommendation is {other.name} itself."
            continue
        chance = float((values[:, 0] < values[:, index]).mean())
        if chance < CREDIBLE:
            yield (
                f"It is better than {other.name} with probability {chance:.2f} only"
                f"{', which is safer' if other.safer else ''}."
            )


def _distance_notes(problem: Problem, row: Array) -> Iterator[str]:
    layout = problem.layout
    # Runs of one mixture at several sizes lie nowhere else.
    seen = np.unique(design_features(layout, problem.X).round(6), axis=0)
    gap = np.sqrt(((design_features(layout, row[None]) - seen) ** 2).sum(1).min())
    between = ((seen[:, None] - seen[None]) ** 2).sum(-1)
    np.fill_diagonal(between, np.inf)
    typical = float(np.sqrt(np.median(between.min(1)))) if len(seen) > 1 else 0.0
    if gap > 1.5 * typical:
        yield (
            f"It lies farther from any finished trial ({gap:.2f}) than trials lie from each other "
            f"({typical:.2f}, in the square root of the weights): the surrogate extrapolates."
        )


def _trust_notes(problem: Problem, row: Array) -> Iterator[str]:
    rank = problem.ranking()
    if rank is not None and rank < 0.7:
        yield (
            f"The surrogate ranks trials it has not seen with a Spearman correlation of {rank:.2f} "
            "only; run more trials before trusting its figures."
        )
    mean = float(problem.expected(row[None])[0][0])
    spread, best = float(np.ptp(problem.y)), float(problem.y[problem.best])
    if len(problem.y) > 1 and best - mean > 0.5 * spread:
        yield (
            f"The predicted gain over the best trial ({best - mean:.4f}) is more than half of what "
            f"all trials differ by ({spread:.4f}): confirm it before spending on it."
        )
