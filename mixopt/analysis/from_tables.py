"""Recommend from finished runs: two tables in, a mixture out, nothing trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixopt.analysis.run_tables import RunTable, read_runs
from mixopt.errors import StudyError
from mixopt.propose import Evidence, Recommendation, recommend
from mixopt.space import Domain, Mixture, Objective, SearchSpace, geometry_of
from mixopt.surrogate import Surrogate, fit_surrogate

#: Different mixtures without which nothing can be learned: a curve in one direction has three.
LEAST_MIXTURES = 3


@dataclass(frozen=True)
class Fitted:
    """What finished runs say.

    Attributes:
        table: The runs.
        space: What was searched.
        objective: What was minimised.
        surrogate: The model.
        recommendation: The answer.
    """

    table: RunTable
    space: SearchSpace
    objective: Objective
    surrogate: Surrogate
    recommendation: Recommendation


def fit_tables(
    ratios: str | Path,
    metrics: str | Path,
    weights: Mapping[str, float],
    *,
    space: str | Path | None = None,
    baseline: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Fitted:
    """Fit a surrogate to finished runs and recommend a mixture.

    Args:
        ratios: CSV of weights (see ``read_runs``).
        metrics: CSV of values.
        weights: The objective.
        space: YAML of the search space; the whole simplex over the table's domains by default.
        baseline: Mixture to compare with; by default the space's, or the mean of the runs.
        seed: Of every random draw.

    Raises:
        StudyError: If the tables cannot be used, or do not hold what the objective needs.
    """
    if seed < 0:
        raise StudyError(f"a seed must be at least 0; got {seed}", "leave it out, or give 0")
    table = read_runs(ratios, metrics)
    different = len(np.unique(table.X.round(6), axis=0))
    if different < LEAST_MIXTURES:
        raise StudyError(
            f"{ratios} must hold at least {LEAST_MIXTURES} different mixtures to learn from; it "
            f"holds {different}",
            "add runs: the number of domains plus two is a fair start",
        )
    objective = Objective(weights=dict(weights))
    unknown = [name for name in objective.metrics if name not in table.metrics]
    if unknown:
        raise StudyError(
            f"the objective names {unknown}, which {metrics} does not hold",
            f"it holds {', '.join(table.metrics)}",
        )
    searched = _space(table, space, baseline)
    surrogate = fit_surrogate(
        geometry_of(searched).layout, table.X, table.Y, table.metrics, table.domains, seed=seed
    )
    evidence = Evidence(X=table.X, Y=table.Y, metrics=table.metrics, ids=table.ids)
    answer = recommend(searched, objective, surrogate, evidence, seed=seed)
    return Fitted(table, searched, objective, surrogate, answer)


def _space(
    table: RunTable, path: str | Path | None, baseline: Mapping[str, float] | None
) -> SearchSpace:
    mixture = None if baseline is None else Mixture(baseline, "the baseline")
    if path is None:
        mean = Mixture.from_array(table.domains, table.X.mean(0))
        return SearchSpace(
            name="finished runs",
            domains=tuple(Domain(name=n) for n in table.domains),
            baseline=mixture or mean,
        )
    space = SearchSpace.from_yaml(path)
    if space.names != table.domains:
        raise StudyError(
            f"{path} must have the table's domains in its order; it has {list(space.names)} and "
            f"the table {list(table.domains)}",
            "reorder the domains of the space",
        )
    if len(space.phases) > 1:
        raise StudyError(
            f"{path} has {len(space.phases)} phases, but finished runs in a table have one",
            "give a space of one phase",
        )
    return space if mixture is None else space.model_copy(update={"baseline": mixture})


def parse_weights(parts: Sequence[str], where: str) -> dict[str, float]:
    """Read ``NAME=WEIGHT`` parts; one bare name has all the weight.

    Raises:
        StudyError: If a part is not of that form or names something twice.
    """
    if len(parts) == 1 and "=" not in parts[0]:
        return {parts[0]: 1.0}
    weights: dict[str, float] = {}
    for part in parts:
        name, _, value = part.partition("=")
        if name in weights:
            raise StudyError(f"{where} names {name!r} twice", "keep one of them")
        try:
            weights[name] = float(value)
        except ValueError:
            weights[name] = math.nan
        if not name or not math.isfinite(weights[name]):
            raise StudyError(f"{where} takes NAME=WEIGHT; got {part!r}", "write pile_cc=0.5")
    return weights
