"""Recommend from finished runs: tables in, a mixture out, nothing trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mixopt.analysis.csv_table import Source
from mixopt.analysis.fit_arguments import as_weights, parse_rule, parse_target
from mixopt.analysis.run_tables import (
    RunTable,
    read_mixtures,
    read_runs,
    require_whole_counts,
)
from mixopt.errors import StudyError
from mixopt.propose import Estimate, Evidence, Observed, Recommendation, recommend
from mixopt.propose.candidates.distance import design_features, farthest
from mixopt.propose.problem import Problem
from mixopt.space import (
    Domain,
    Fidelity,
    Guardrail,
    Metric,
    Mixture,
    Objective,
    Phase,
    PhaseSpace,
    Schedule,
    SearchSpace,
    geometry_of,
)
from mixopt.steps import LOG, step
from mixopt.study.results.at_target import at_target
from mixopt.surrogate import (
    MetricSurrogate,
    RunRule,
    ScaleSurrogate,
    Surrogate,
    SurrogateSettings,
    fit_metrics,
    fit_scale_surrogate,
)

if TYPE_CHECKING:
    from pandas import DataFrame

#: Different mixtures without which nothing can be learned: a curve in one direction has three.
LEAST_MIXTURES = 3
#: Different mixtures that are learned from, at most: the time of a fit grows with their cube.
MOST_MIXTURES = 512
#: The best of them, which stay for sure.
_LEADING = 64
#: Shares of a last phase to choose from, at most, where no search space says them.
_LEVELS = 10


@dataclass(frozen=True)
class Fitted:
    """What finished runs say.

    Attributes:
        table: The runs.
        space: What was searched.
        objective: What was minimised.
        surrogate: The model.
        evidence: What it learned from, at the target where there is one.
        recommendation: The answer.
        seed: Of every random draw.
    """

    table: RunTable
    space: SearchSpace
    objective: Objective
    surrogate: Surrogate | MetricSurrogate | ScaleSurrogate
    evidence: Evidence
    recommendation: Recommendation
    seed: int

    @cached_property
    def problem(self) -> Problem:
        """The question that was answered."""
        return Problem.of(self.space, self.objective, self.surrogate, self.evidence)

    def predict(self, candidates: Source) -> DataFrame:
        """Predict given mixtures at the target.

        Args:
            candidates: A table of mixtures, with the columns of the runs' weights; its first other
                column names them.

        Returns:
            One row each: ``name``, the objective's ``value`` with its 95 % interval (``low``,
            ``high``), and its ``difference`` from the baseline's with ``difference_low`` and
            ``difference_high``; all of one new run each, run-to-run noise included.

        Raises:
            StudyError: If the table cannot be read, or has other domains than the runs.
        """
        import pandas as pd

        names, X = read_mixtures(candidates, self.table.weights)
        problem = self.problem.narrowed()
        rows = X[:, problem.there]
        (value, sd), (change, apart) = problem.expected(rows), problem.minus_baseline(rows)
        sd, apart = np.hypot(sd, problem.noise), np.hypot(apart, np.sqrt(2.0) * problem.noise)
        values = map(Estimate.of, problem.sign * value, sd)
        changes = map(Estimate.of, problem.sign * change, apart)
        return pd.DataFrame(
            {
                "name": name,
                "value": found.mean,
                "low": found.low,
                "high": found.high,
                "difference": gap.mean,
                "difference_low": gap.low,
                "difference_high": gap.high,
            }
            for name, found, gap in zip(names, values, changes, strict=True)
        )


def fit(
    runs: Source,
    metrics: Source | None = None,
    *,
    objective: str | Sequence[str] | Mapping[str, float] | Objective,
    domains: Sequence[str] | None = None,
    space: str | Path | SearchSpace | None = None,
    baseline: str | Mapping[str, float] | None = None,
    kinds: Mapping[str, Metric | Mapping[str, Any]] | None = None,
    guardrails: Sequence[Guardrail | Mapping[str, Any]] = (),
    scale: Literal["baseline"] | None = None,
    target: str | Fidelity | None = None,
    rate: str | RunRule | None = None,
    laws: Sequence[str] | None = None,
    seed: int = 0,
) -> Fitted:
    """Fit a surrogate to finished runs and recommend a mixture; nothing is trained.

    Args:
        runs: CSV file or DataFrame of weights, one row per run: a key, then one column per domain;
            in two phases ``base.web``, ``ending.web``, ``fraction``. May hold the metrics too.
        metrics: CSV file or DataFrame of metrics with the same key: a column each, or ``metric``
            and ``value``; with a column ``tokens`` a run may have several rows.
        objective: Metric, or weight by metric.
        domains: Columns of the weights; by default those that sum to 1, or all but the key where
            metrics are a table of their own.
        space: The search space or its YAML file; the whole simplex over the domains by default.
        baseline: Mixture to compare with; by default the space's, or the mean of the runs.
        kinds: What the metrics are, as ``{"gsm8k": {"kind": "accuracy", "n": 1319}}``; a loss to
            minimise where nothing is said.
        guardrails: Metrics that must not get worse, as ``{"metric": "web", "slack": 0.02}``.
        scale: ``baseline`` to divide each weight by the baseline's value of its metric.
        target: Size and length to speak of, as ``1B:100B``; the tables must hold the columns
            ``parameters`` (non-embedding) and ``tokens``.
        rate: Learning-rate rule of runs that were read in the middle, as
            ``cosine:horizon=100B,warmup=0.02,final=0.1``.
        laws: Mixing laws in the surrogate: ``M4``, ``effective data``, ``shared law``; all by
            default, none for Gaussian processes alone.
        seed: Of every random draw.

    Raises:
        StudyError: If the tables cannot be used, or do not hold what the objective needs.
    """
    if seed < 0:
        raise StudyError(f"a seed must be at least 0; got {seed}", "leave it out, or give 0")
    asked = _asked(objective, kinds, guardrails, scale)
    settings = None if laws is None else SurrogateSettings(laws=tuple(laws))
    with step("reading the tables"):
        table = read_runs(runs, metrics, domains=domains, needed=asked.metrics)
    _check_enough(table)
    asked = _known(asked, table)
    searched = _space(table, space, baseline)
    table = _at_most(_ordered(table, searched), searched, asked)
    surrogate: Surrogate | MetricSurrogate | ScaleSurrogate
    if target is None:
        surrogate, evidence = _where_they_ran(table, searched, asked, seed, settings)
    else:
        goal = parse_target(target) if isinstance(target, str) else target
        rule = parse_rule(rate) if isinstance(rate, str) else rate
        asked.require_losses()
        surrogate, evidence = _at(table, searched, goal, rule, seed, settings)
    asked = asked.scaled_by(_at_baseline(searched, surrogate))
    answer = recommend(searched, asked, surrogate, evidence, seed=seed)
    if isinstance(surrogate, ScaleSurrogate):
        observed = _observed(table, searched, asked)
        answer = at_target(answer, surrogate, asked, observed, searched.baseline_schedule)
    answer = answer.model_copy(update={"notes": (*answer.notes, *table.left_out)})
    return Fitted(table, searched, asked, surrogate, evidence, answer, seed)


def _asked(
    objective: str | Sequence[str] | Mapping[str, float] | Objective,
    kinds: Mapping[str, Metric | Mapping[str, Any]] | None,
    guardrails: Sequence[Guardrail | Mapping[str, Any]],
    scale: Literal["baseline"] | None,
) -> Objective:
    """The objective, put together from what was given beside it."""
    if isinstance(objective, Objective):
        if kinds or guardrails or scale:
            raise StudyError(
                "an Objective says kinds, guardrails and scale itself",
                "give them to Objective(...), or give weights",
            )
        return objective
    facts: dict[str, Any] = {"kinds": dict(kinds or {}), "guardrails": tuple(guardrails)}
    return Objective(weights=as_weights(objective, "--objective"), scale=scale, **facts)


def _at_baseline(space: SearchSpace, surrogate: Any) -> dict[str, float]:
    """Every metric as predicted for the baseline."""
    row = geometry_of(space).encode(space.baseline_schedule)
    return dict(zip(surrogate.metrics, surrogate.predict(row[None]).mean[0], strict=True))


def _observed(table: RunTable, space: SearchSpace, objective: Objective) -> list[Observed]:
    """The ends of all runs, each at its own fidelity."""
    geometry, w = geometry_of(space), objective.coefficients(list(table.metrics))
    assert table.parameters is not None, "a target needs sizes"
    assert table.tokens is not None, "a target needs lengths"
    return [
        Observed(
            trial=table.ids[i],
            value=float(table.Y[i] @ w),
            schedule=geometry.decode(table.X[i]),
            fidelity=Fidelity(parameters=round(table.parameters[i]), tokens=round(table.tokens[i])),
        )
        for i in table.ends
    ]


def _at_most(table: RunTable, space: SearchSpace, objective: Objective) -> RunTable:
    """The table with no more mixtures than a fit takes: the best, and those farthest from them."""
    _, first, of = np.unique(table.X.round(6), axis=0, return_index=True, return_inverse=True)
    if len(first) <= MOST_MIXTURES:
        return table
    factors = objective.sign * objective.coefficients(list(table.metrics))
    value = np.full(len(first), np.inf)
    np.minimum.at(value, of.ravel(), table.Y @ factors)
    best = np.argsort(value, kind="stable")[:_LEADING]
    said = (
        f"Of {len(first)} mixtures {MOST_MIXTURES} are learned from: the {_LEADING} best, and "
        "those that lie farthest from these and from each other."
    )
    # The fit takes longer than the choice: who waits for it is told at once.
    LOG.warning(said)
    features = design_features(geometry_of(space).layout, table.X[first])
    wide = farthest(features, features[best], MOST_MIXTURES - _LEADING)
    kept = table.take(np.flatnonzero(np.isin(of.ravel(), [*best, *wide])))
    return replace(kept, left_out=(*kept.left_out, said))


def _check_enough(table: RunTable) -> None:
    different = len(np.unique(table.X.round(6), axis=0))
    if different < LEAST_MIXTURES:
        raise StudyError(
            f"the runs must have at least {LEAST_MIXTURES} different mixtures to learn from; they "
            f"have {different}",
            "add runs: the number of domains plus two is a fair start",
        )


def _known(objective: Objective, table: RunTable) -> Objective:
    """The objective with the metrics' short names."""
    short = dict(zip(table.long_names, table.metrics, strict=True))
    named = {name: short.get(name, name) for name in objective.metrics}
    unknown = [name for name, own in named.items() if own not in table.metrics]
    if unknown:
        raise StudyError(
            f"the objective names {unknown}, which no run measured",
            f"measured were {', '.join(table.metrics)}",
        )
    rails = tuple(g.model_copy(update={"metric": named[g.metric]}) for g in objective.guardrails)
    weights = {named[name]: weight for name, weight in objective.weights.items()}
    kinds = {short.get(name, name): kind for name, kind in objective.kinds.items()}
    strange = sorted(set(kinds) - set(table.metrics))
    if strange:
        raise StudyError(
            f"a kind is given for {strange}, which no run measured",
            f"measured were {', '.join(table.metrics)}",
        )
    return objective.model_copy(update={"weights": weights, "guardrails": rails, "kinds": kinds})


def _one_place(table: RunTable) -> None:
    for name, values in (("parameters", table.parameters), ("tokens", table.tokens)):
        if values is not None and np.ptp(values) > 0:
            raise StudyError(
                f"the runs differ in {name} ({values.min():.3g} to {values.max():.3g}), so losses "
                "must be predicted for a target",
                "give --target PARAMETERS:TOKENS, as 1B:100B",
            )


def _where_they_ran(
    table: RunTable,
    space: SearchSpace,
    objective: Objective,
    seed: int,
    settings: SurrogateSettings | None,
) -> tuple[Surrogate | MetricSurrogate, Evidence]:
    """The surrogate at the one size and length of all runs."""
    _one_place(table)
    surrogate = fit_metrics(
        geometry_of(space).layout,
        table.X,
        table.Y,
        table.metrics,
        table.domains,
        kinds=objective.kinds,
        seed=seed,
        settings=settings,
    )
    return surrogate, Evidence(X=table.X, Y=table.Y, metrics=table.metrics, ids=table.ids)


def _at(
    table: RunTable,
    space: SearchSpace,
    target: Fidelity,
    rule: RunRule | None,
    seed: int,
    settings: SurrogateSettings | None,
) -> tuple[ScaleSurrogate, Evidence]:
    """The surrogate at a target, and the ends of the runs as extrapolated to it."""
    require_whole_counts(np.array([target.parameters]), np.array([target.tokens]), "the target")
    if table.parameters is None or table.tokens is None:
        missing = "parameters" if table.parameters is None else "tokens"
        raise StudyError(
            f"a target needs the size and length of every run; the tables have no column "
            f"{missing!r}",
            "add the columns parameters (non-embedding) and tokens to one of the files",
        )
    surrogate = fit_scale_surrogate(
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
        settings=settings,
    )
    ends = surrogate.ends
    ids = tuple(table.ids[i] for i in ends)
    return surrogate, Evidence(table.X[ends], surrogate.extrapolated, table.metrics, ids)


def _space(
    table: RunTable,
    given: str | Path | SearchSpace | None,
    baseline: str | Mapping[str, float] | None,
) -> SearchSpace:
    weights = None if baseline is None else as_weights(baseline, "--baseline")
    short = {c: d for p in table.weights.columns for c, d in zip(p, table.domains, strict=True)}
    mixture = (
        None
        if weights is None
        else Mixture({short.get(n, n): w for n, w in weights.items()}, "the baseline")
    )
    if given is None:
        return _space_of_runs(table, mixture)
    space = given if isinstance(given, SearchSpace) else SearchSpace.from_yaml(given)
    where = space.name if isinstance(given, SearchSpace) else str(given)
    if set(space.names) != set(table.domains):
        raise StudyError(
            f"{where} must have the table's domains; it has {list(space.names)} and the table "
            f"{list(table.domains)}",
            "name the domains of the space like the columns of the table",
        )
    phases = tuple(p.name for p in space.phases)
    if len(phases) != len(table.weights.phases) or (
        len(phases) > 1 and phases != table.weights.phases
    ):
        raise StudyError(
            f"{where} must have the phases of the runs, {', '.join(table.weights.phases)}; it has "
            f"{', '.join(phases)}",
            "a table of two phases has the columns base.web, ending.web, fraction",
        )
    return space if mixture is None else space.model_copy(update={"baseline": mixture})


def _space_of_runs(table: RunTable, baseline: Mixture | None) -> SearchSpace:
    """All mixtures of the domains; with phases, at the shares of the last one that were run."""
    domains = tuple(Domain(name=n) for n in table.domains)
    d, mean = len(domains), table.X.mean(0)
    mixtures = [
        Mixture.from_array(table.domains, mean[k * d : (k + 1) * d])
        for k in range(len(table.weights.phases))
    ]
    if len(mixtures) == 1:
        return SearchSpace(name="finished runs", domains=domains, baseline=baseline or mixtures[0])
    levels = np.unique(table.X[:, -1].round(4))
    if len(levels) > _LEVELS:
        levels = np.linspace(levels[0], levels[-1], _LEVELS).round(4)
    first, last = table.weights.phases
    phases = (PhaseSpace(name=first), PhaseSpace(name=last, fraction=tuple(map(float, levels))))
    shares = mean[-2:]
    mean_run = Schedule(
        phases=tuple(
            Phase(name=name, fraction=float(share), mixture=mixture)
            for name, share, mixture in zip((first, last), shares, mixtures, strict=True)
            if share > 0
        )
    )
    return SearchSpace(
        name="finished runs", domains=domains, phases=phases, baseline=baseline or mean_run
    )


def _ordered(table: RunTable, space: SearchSpace) -> RunTable:
    """The table with its domains in the space's order."""
    return table if table.domains == space.names else table.reordered(space.names)
