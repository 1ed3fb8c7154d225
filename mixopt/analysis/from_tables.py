"""Recommend from finished runs: two tables in, a mixture out, nothing trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixopt.analysis.run_tables import RunTable, read_mixtures, read_runs
from mixopt.errors import StudyError
from mixopt.propose import Evidence, Recommendation, recommend
from mixopt.space import (
    Domain,
    Fidelity,
    LearningRate,
    Mixture,
    Objective,
    SearchSpace,
    geometry_of,
)
from mixopt.space.written_numbers import read_number
from mixopt.surrogate import (
    RunRule,
    ScaleSurrogate,
    Surrogate,
    fit_scale_surrogate,
    fit_surrogate,
)

_Z95, _DRAWS = 1.959964, 1024

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
    surrogate: Surrogate | ScaleSurrogate
    recommendation: Recommendation


def fit_tables(
    ratios: str | Path,
    metrics: str | Path,
    weights: Mapping[str, float],
    *,
    space: str | Path | None = None,
    baseline: Mapping[str, float] | None = None,
    target: Fidelity | None = None,
    rule: RunRule | None = None,
    seed: int = 0,
) -> Fitted:
    """Fit a surrogate to finished runs and recommend a mixture.

    Args:
        ratios: CSV of weights (see ``read_runs``).
        metrics: CSV of values.
        weights: The objective.
        space: YAML of the search space; the whole simplex over the table's domains by default.
        baseline: Mixture to compare with; by default the space's, or the mean of the runs.
        target: Size and length to speak of; the tables must hold those of the runs.
        rule: Learning-rate rule of runs that were read in the middle.
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
    if target is None:
        _one_place(table)
        layout = geometry_of(searched).layout
        alone = fit_surrogate(layout, table.X, table.Y, table.metrics, table.domains, seed=seed)
        evidence = Evidence(X=table.X, Y=table.Y, metrics=table.metrics, ids=table.ids)
        answer = recommend(searched, objective, alone, evidence, seed=seed)
        return Fitted(table, searched, objective, alone, answer)
    surrogate = _at(table, searched, target, rule, seed)
    ends = surrogate.ends
    ids = tuple(table.ids[i] for i in ends)
    evidence = Evidence(X=table.X[ends], Y=surrogate.extrapolated, metrics=table.metrics, ids=ids)
    answer = recommend(searched, objective, surrogate, evidence, seed=seed)
    answer = answer.model_copy(update={"target": target})
    return Fitted(table, searched, objective, surrogate, answer)


def _one_place(table: RunTable) -> None:
    for name, values in (("parameters", table.parameters), ("tokens", table.tokens)):
        if values is not None and np.ptp(values) > 0:
            raise StudyError(
                f"the runs differ in {name} ({values.min():.3g} to {values.max():.3g}), so losses "
                "must be predicted for a target",
                "give --target PARAMETERS:TOKENS, as 1B:100B",
            )


def _at(
    table: RunTable, space: SearchSpace, target: Fidelity, rule: RunRule | None, seed: int
) -> ScaleSurrogate:
    if table.parameters is None or table.tokens is None:
        missing = "parameters" if table.parameters is None else "tokens"
        raise StudyError(
            f"a target needs the size and length of every run; the tables have no column "
            f"{missing!r}",
            "add the columns parameters (non-embedding) and tokens to one of the files",
        )
    return fit_scale_surrogate(
        geometry_of(space).layout,
        table.X,
        table.parameters,
        table.tokens,
        table.Y,
        table.metrics,
        table.domains,
        target=target,
        runs=table.run,
        rule=rule,
        seed=seed,
    )


@dataclass(frozen=True)
class CandidateRow:
    """What is expected of a mixture that was given.

    Attributes:
        name: Its key.
        value: The objective.
        low: Lower end of the 95 % interval.
        high: Upper end.
        difference: The objective less the baseline's.
        difference_low: Lower end of its 95 % interval.
        difference_high: Upper end.
    """

    name: str
    value: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float


def predict_candidates(fitted: Fitted, path: str | Path, *, seed: int = 0) -> list[CandidateRow]:
    """Predict given mixtures, one row each: a key column, then one weight per domain.

    Raises:
        StudyError: If the file cannot be read, or has other domains than the runs.
    """
    import torch

    ids, domains, X = read_mixtures(path)
    if set(domains) != set(fitted.table.domains):
        raise StudyError(
            f"{path} must have the domains of the runs ({', '.join(fitted.table.domains)}); it has "
            f"{', '.join(domains)}",
            "name its columns like those of the runs",
        )
    X = X[:, [domains.index(name) for name in fitted.table.domains]]
    geometry = geometry_of(fitted.space)
    base = geometry.encode(fitted.space.baseline_schedule)
    rows = np.vstack([X, base])
    w = fitted.objective.coefficients(list(fitted.surrogate.metrics))
    mean = fitted.surrogate.predict(rows).mean @ w
    draws = fitted.surrogate.sample_paths(_DRAWS, seed)(torch.as_tensor(rows)).numpy() @ w
    sd, apart = draws.std(0), (draws[:, :-1] - draws[:, -1:]).std(0)
    return [
        CandidateRow(name, *_interval(mean[i], sd[i]), *_interval(mean[i] - mean[-1], apart[i]))
        for i, name in enumerate(ids)
    ]


def _interval(mean: float, sd: float) -> tuple[float, float, float]:
    return float(mean), float(mean - _Z95 * sd), float(mean + _Z95 * sd)


def parse_amount(text: str, where: str) -> float:
    """Read ``410M``, ``1B`` or ``1e9``.

    Raises:
        StudyError: If it is no positive number.
    """
    value = read_number(text)
    if value is None or not (math.isfinite(value) and value > 0):
        raise StudyError(f"{where} takes a positive number; got {text!r}", "write 410M, 1B or 1e9")
    return value


def parse_target(text: str) -> Fidelity:
    """Read ``PARAMETERS:TOKENS``.

    Raises:
        StudyError: If it is not of that form.
    """
    parameters, colon, tokens = text.partition(":")
    if not colon:
        raise StudyError(f"--target takes PARAMETERS:TOKENS; got {text!r}", "write 1B:100B")
    sizes = [round(parse_amount(part, "--target")) for part in (parameters, tokens)]
    return Fidelity(parameters=sizes[0], tokens=sizes[1])


def parse_rule(text: str) -> RunRule:
    """Read ``SHAPE:horizon=TOKENS,warmup=SHARE,final=SHARE``; the rate falls after the warm-up.

    Raises:
        StudyError: If the horizon is missing or a part is not known.
    """
    shape, _, rest = text.partition(":")
    parts = dict(part.partition("=")[::2] for part in rest.split(",") if part)
    unknown = sorted(set(parts) - {"horizon", "warmup", "final"})
    if unknown or "horizon" not in parts:
        raise StudyError(
            f"--rate takes SHAPE:horizon=TOKENS,warmup=SHARE,final=SHARE; got {text!r}",
            "write cosine:horizon=100B,warmup=0.02,final=0.1",
        )
    warmup, final = (float(parts.get(name, 0.0)) for name in ("warmup", "final"))
    rate = LearningRate(warmup=warmup, decay=1.0 - warmup, shape=shape, final=final)
    return RunRule(rate, parse_amount(parts["horizon"], "--rate"))


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
