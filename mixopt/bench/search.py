"""Whole studies replayed on a table: its rows are all the mixtures one can try."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from mixopt.bench.designs import design_rows
from mixopt.bench.methods import (
    CLIMB_TOP,
    OLMIX_KL,
    Forecast,
    Predictor,
    Task,
    fit_mixing_laws,
    gp_model,
)
from mixopt.bench.methods import fit_climb as _climb_trees
from mixopt.bench.methods import fit_regmix as _regmix_trees
from mixopt.bench.tables import Array, BenchError, BenchTable, Ints, load_table, require_one_of
from mixopt.space import Mixture, Objective, SearchSpace, geometry_of
from mixopt.surrogate import fit_surrogate

#: Share of the pool's best rows that a study must reach one of.
_TOP = 0.01

Row = dict[str, Any]


@dataclass(frozen=True)
class Round:
    """What a method sees when it is asked for the next batch.

    Args:
        task: The rows tried so far, and a seed for this round.
        pool: ``N x d`` weights of all rows.
        open: Numbers of the rows not tried yet.
        weights: ``m`` weights of the objective.
        batch: How many rows are wanted.
    """

    task: Task
    pool: Array
    open: Ints
    weights: Array
    batch: int

    @property
    def observed(self) -> Array:
        """Objective of the rows tried so far."""
        return np.asarray(self.task.Y @ self.weights)

    def predicted(self, fit: Callable[[Task], Predictor]) -> Array:
        """Objective of the open rows by a surrogate fitted to the metrics that count."""
        used = np.flatnonzero(self.weights)
        names = tuple(self.task.metrics[i] for i in used)
        part = Task(self.task.X, self.task.Y[:, used], names, self.task.domains, self.task.seed)
        forecast: Forecast = fit(part)(self.pool[self.open])
        return np.asarray(forecast.mean @ self.weights[used])

    def best(self, score: Array) -> Ints:
        """The open rows of least score, a batch of them."""
        return self.open[np.argsort(score, kind="stable")[: self.batch]]


Method = Callable[[Round], Ints]


def _mixopt(now: Round) -> Ints:
    """The batch a study would propose if the open rows were all that can be run."""
    from mixopt.propose import Evidence, propose_batch

    task = now.task
    space = SearchSpace(domains=task.domains, baseline=Mixture.uniform(task.domains))
    geometry = geometry_of(space)
    model = fit_surrogate(
        geometry.layout, task.X, task.Y, task.metrics, task.domains, seed=task.seed
    )
    asked = zip(task.metrics, now.weights.tolist(), strict=True)
    objective = Objective(weights={name: weight for name, weight in asked if weight > 0})
    seen = Evidence(task.X, task.Y, task.metrics, tuple(map(str, range(len(task.X)))))
    rows = now.pool[now.open]
    batch = propose_batch(space, objective, model, seen, now.batch, seed=task.seed, candidates=rows)
    # Decoded schedules are rounded, so each is the row next to it.
    return now.open[[int(np.abs(rows - geometry.encode(s)).sum(1).argmin()) for s in batch]]


def _random(now: Round) -> Ints:
    """Any rows."""
    rng = np.random.default_rng(now.task.seed)
    return np.asarray(rng.choice(now.open, now.batch, replace=False))


def _regmix(now: Round) -> Ints:
    """The rows LightGBM predicts best. RegMix itself asks once; refitting each round favours it."""
    return now.best(now.predicted(_regmix_trees))


def _climb(now: Round) -> Ints:
    """Random picks among the tenth of the open rows that shallow LightGBM predicts best."""
    order = np.argsort(now.predicted(_climb_trees), kind="stable")
    top = order[: max(now.batch, int(CLIMB_TOP * len(order)))]
    rng = np.random.default_rng(now.task.seed)
    return np.asarray(now.open[rng.choice(top, now.batch, replace=False)])


def _mixing_laws(now: Round) -> Ints:
    """The rows that M4, one law per metric, predicts best."""
    return now.best(now.predicted(fit_mixing_laws))


def _olmix(now: Round) -> Ints:
    """The log-linear law plus a KL term to the prior, for which the pool's mean mixture stands."""
    prior = np.maximum(now.pool.mean(0), 1e-9)
    X = now.pool[now.open]
    kl = (X * np.log(np.maximum(X, 1e-12) / prior)).sum(1)
    return now.best(now.predicted(fit_mixing_laws) + OLMIX_KL * kl)


def _gp(now: Round) -> Ints:
    """Expected improvement of a plain GP on the objective, later picks believing earlier ones."""
    import torch

    y = now.observed
    model = gp_model(now.task.X, y[:, None])
    with torch.no_grad():
        posterior = model.posterior(torch.as_tensor(now.pool[now.open]))
        mean = posterior.mean[:, 0].numpy()
        cov = posterior.distribution.covariance_matrix.numpy().copy()
    best, picked = float(y.min()), np.zeros(len(mean), dtype=bool)
    order = []
    for _ in range(now.batch):
        i = int(np.argmax(np.where(picked, -np.inf, _improvement(mean, cov, best))))
        order.append(i)
        picked[i], best = True, min(best, float(mean[i]))
        # The pick is believed to come out as predicted: the mean stays, the variance shrinks.
        cov -= np.outer(cov[:, i], cov[i]) / max(cov[i, i], 1e-12)
    return now.open[order]


def _improvement(mean: Array, cov: Array, best: float) -> Array:
    sd = np.sqrt(np.maximum(np.diag(cov), 1e-12))
    z = (best - mean) / sd
    return np.asarray(sd * (z * norm.cdf(z) + norm.pdf(z)))


METHODS: dict[str, Method] = {
    "mixopt": _mixopt,
    "unmatched": _mixopt,
    "gp": _gp,
    "regmix": _regmix,
    "climb": _climb,
    "olmix": _olmix,
    "mixing-laws": _mixing_laws,
    "random": _random,
}


def search(
    table: BenchTable | str,
    *,
    budget: int = 64,
    batch: int = 8,
    repeats: int = 20,
    methods: Sequence[str] | None = None,
    objectives: Sequence[str] | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> list[Row]:
    """Replay studies: each method picks batches of rows, sees their losses, and picks again.

    Our method begins as a study does, with the row nearest to the objective's matched mixture
    (where metrics are named like domains) and max-min rows; the peers begin with random rows.
    ``unmatched`` is ours without that first row.

    Args:
        table: The table, or its name. All rows of its densest size and step are the pool.
        budget: Trials in a study.
        batch: Trials in a round, the first included.
        repeats: Studies per method, with different seeds.
        methods: Names; all by default.
        objectives: Metrics to minimise, or ``mean`` for the mean of all; ``pile_cc`` (where the
            table has it) and ``mean`` by default.
        seed: Of the first study.
        progress: Told one line per study.

    Returns:
        Rows ``method, objective, budget, batch, repeats, trials, regret, regret_final,
        trials_to_top1, reached, seconds``: ``regret`` is the mean over the studies of the best
        loss seen after each number of ``trials`` less the pool's least (nats/token),
        ``trials_to_top1`` the median trial at which a row of the pool's best 1 % was tried (None
        if fewer than half did), ``reached`` their share, ``seconds`` the time of one study.

    Raises:
        BenchError: If a name is unknown or the pool is smaller than the budget.
    """
    pool = (load_table(table) if isinstance(table, str) else table).densest()
    names = list(METHODS) if methods is None else list(methods)
    for name in names:
        require_one_of(name, METHODS, "a method")
    if not 1 <= batch <= budget <= len(pool) or repeats < 1:
        raise BenchError(
            f"a study needs 1 <= batch <= budget <= rows of the pool ({len(pool)}) and a repeat; "
            f"got batch {batch}, budget {budget}, repeats {repeats}",
            "lower the budget",
        )
    rows = []
    for objective, weights in _objectives(pool, objectives).items():
        for name in names:
            studies, begun = [], time.perf_counter()
            for repeat in range(repeats):
                studies.append(_study(pool, weights, name, budget, batch, seed + repeat))
                if progress is not None:
                    progress(f"{name} {objective} {repeat + 1}/{repeats}")
            seconds = (time.perf_counter() - begun) / repeats
            found = _summary(pool.Y @ weights, np.array(studies), batch)
            rows.append({"method": name, "objective": objective, **found, "seconds": seconds})
    return rows


def _objectives(pool: BenchTable, wanted: Sequence[str] | None) -> dict[str, Array]:
    """Weights ``m`` of each objective asked for."""
    known = dict(zip(pool.metrics, np.eye(len(pool.metrics)), strict=True))
    known["mean"] = np.full(len(pool.metrics), 1.0 / len(pool.metrics))
    if wanted is None:
        wanted = [name for name in ("pile_cc", "mean") if name in known]
    for name in wanted:
        require_one_of(name, known, "an objective")
    return {name: known[name] for name in wanted}


def _study(
    pool: BenchTable, weights: Array, name: str, budget: int, batch: int, seed: int
) -> list[int]:
    """Row numbers in the order in which one study tried them."""
    tried = _first_rows(pool, weights, name, batch, seed)
    while len(tried) < budget:
        task = Task(
            pool.X[tried], pool.Y[tried], pool.metrics, pool.domains, 1000 * seed + len(tried)
        )
        left = np.setdiff1d(np.arange(len(pool)), tried)
        size = min(batch, budget - len(tried))
        tried += [int(i) for i in METHODS[name](Round(task, pool.X, left, weights, size))]
    return tried


def _first_rows(pool: BenchTable, weights: Array, name: str, batch: int, seed: int) -> list[int]:
    design = "maxmin" if METHODS[name] is _mixopt else "random"
    if name != "mixopt":
        return [int(i) for i in design_rows(design, pool.X, batch, seed)]
    from mixopt.propose.design.matched_mixture import matched_mixture

    prior = dict(zip(pool.domains, pool.X.mean(0).tolist(), strict=True))
    asked = dict(zip(pool.metrics, weights.tolist(), strict=True))
    matched = matched_mixture(pool.domains, asked, prior)
    given = None
    if matched is not None:
        roots = np.sqrt(matched.to_array(pool.domains))
        given = int(np.argmin(((np.sqrt(pool.X) - roots) ** 2).sum(1)))
    return [int(i) for i in design_rows(design, pool.X, batch, seed, first=given)]


def _summary(true: Array, studies: Ints, batch: int) -> Row:
    """What studies reached: ``true`` objectives ``N`` of the pool, ``studies`` rows ``s x n``."""
    repeats, budget = studies.shape
    top = np.argsort(true, kind="stable")[: max(1, round(_TOP * len(true)))]
    hit = np.isin(studies, top)
    reached = hit.any(1)
    median = float(np.median(np.where(reached, hit.argmax(1) + 1, budget + 1)))
    regret = (np.minimum.accumulate(true[studies], axis=1) - true.min()).mean(0)
    trials = [*range(batch, budget, batch), budget]
    return {
        "budget": budget,
        "batch": batch,
        "repeats": repeats,
        "trials": trials,
        "regret": [float(regret[k - 1]) for k in trials],
        "regret_final": float(regret[-1]),
        "trials_to_top1": median if median <= budget else None,
        "reached": float(reached.mean()),
    }
