"""What to know before using a recommendation, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from mixopt.advice import advise
from mixopt.laws import worth_per_token
from mixopt.propose.assess.winners_curse import Optimism
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
    optimism: Optimism,
) -> tuple[str, ...]:
    """All that apply."""
    return (
        *_guardrail_notes(rails, found),
        *_cap_notes(problem, epochs),
        *_repetition_notes(problem, epochs),
        *_comparison_notes(problem, row),
        *_distance_notes(problem, row),
        *_trust_notes(problem, row),
        *_optimism_notes(optimism),
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
            worth = float(worth_per_token(np.array(read), np.array(1.0), r_star))
            yield (
                f"{name} is read {read:.1f} times at the target, which is taken to be worth "
                f"{worth:.0%} of as many fresh tokens (R* = {r_star:g}, arXiv 2305.16264)."
            )


def _comparison_notes(problem: Problem, row: Array) -> Iterator[str]:
    best = problem.X[int(np.argmin(problem.expected(problem.X)[0]))]
    named = {
        "the best observed schedule, which is safer": best,
        "the baseline": problem.baseline,
    }
    rows = np.vstack([row, *named.values()])
    path = problem.paths(256, 0)
    with torch.no_grad():
        values = path(torch.as_tensor(rows)).numpy() @ problem.weights
    for index, label in enumerate(named, start=1):
        if schedule_distance(problem.layout, row[None], rows[[index]])[0, 0] < 1e-6:
            yield f"The recommendation is {label.split(',')[0]} itself."
            continue
        chance = float((values[:, 0] < values[:, index]).mean())
        if chance < CREDIBLE:
            yield (
                f"It is better than {label.split(',')[0]} with probability {chance:.2f} only"
                f"{', which is safer' if ',' in label else ''}."
            )


def _distance_notes(problem: Problem, row: Array) -> Iterator[str]:
    layout = problem.layout
    seen = design_features(layout, problem.X)
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
    spread, best = float(np.ptp(problem.y)), float(problem.y.min())
    if len(problem.y) > 1 and best - mean > 0.5 * spread:
        yield (
            f"The predicted gain over the best trial ({best - mean:.4f}) is more than half of what "
            f"all trials differ by ({spread:.4f}): confirm it before spending on it."
        )


def _optimism_notes(optimism: Optimism) -> Iterator[str]:
    if optimism.replays and optimism.mean > 0:
        yield (
            f"By replays on redrawn data and by predictions out of fold, a choice looks "
            f"{optimism.mean:.4f} better than it is; the corrected figure has that taken off."
        )
