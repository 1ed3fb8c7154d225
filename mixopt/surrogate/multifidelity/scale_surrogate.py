"""One surrogate from trials of any size and length, speaking of the target alone.

Every run is extrapolated to the target: a Gaussian process over mixture, size and length
(``scale_gp.py``) says by how much the loss at its end will change on the way, without having seen
that loss itself, and how surely. The extrapolated losses, with that much more variance each, train
the usual surrogate; what all of them share, the level of the target,
widens every prediction alike and says nothing about which mixture is best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import rankdata
from torch import Tensor

from mixopt.errors import SurrogateError
from mixopt.laws._arrays import Array
from mixopt.laws._lbfgs import Ints
from mixopt.space import Fidelity, Layout
from mixopt.steps import step
from mixopt.surrogate.ensemble.gp import features
from mixopt.surrogate.ensemble.row_checks import check_rows
from mixopt.surrogate.ensemble.surrogate import Surrogate, SurrogateSettings, fit_surrogate
from mixopt.surrogate.level import level_draws, with_level
from mixopt.surrogate.multifidelity.fidelity_rows import FidelityRows, RunRule, fidelity_groups
from mixopt.surrogate.multifidelity.scale_gp import ScaleGP, ScalePrior, fit_scale_gp, spaced
from mixopt.surrogate.protocol import Prediction, SurrogateRow

#: Correlation over metrics of the target's level: one law's error and one step's noise move them
#: together, as far as the back-tests on RedPajama go (.14 to .44).
LEVEL_CORRELATION = 0.5
#: Rows the process is conditioned on: the last of every run first, then other checkpoints.
_CONDITIONED_ON = 1500
_CHUNK = 200
#: Runs beyond which those of one mixture are pooled at the target, for the time the fit takes.
_POOLED_FROM = 150
_SAME = 1e-6


@dataclass(frozen=True)
class Agreement:
    """How far the ranking of mixtures at one fidelity holds at another.

    Args:
        low: The fidelity of fewer FLOPs.
        high: The fidelity of more FLOPs.
        mixtures: Number of mixtures run at both.
        spearman: Rank correlation over them, mean over metrics.
    """

    low: Fidelity
    high: Fidelity
    mixtures: int
    spearman: float


@dataclass(frozen=True)
class ScaleSurrogate:
    """A surrogate of the losses at a target; make one with :func:`fit_scale_surrogate`.

    Args:
        base: Surrogate of the extrapolated losses; it takes the target's level as known.
        target: The fidelity it speaks of.
        ends: Numbers of the r rows that end their run, which are extrapolated.
        pooled: Row of the base's that each of them went into.
        extrapolated: ``r x m`` losses extrapolated to the target (nats/token).
        extrapolated_var: ``r x m`` variances of the extrapolation (squared nats/token), without
            the part that all rows share.
        target_level: ``m x m`` covariance of the part that all rows share.
        agreement: Rank agreement between the fidelities.
        gp: The process over fidelities.
    """

    base: Surrogate
    target: Fidelity
    ends: Ints
    pooled: Ints
    extrapolated: Array
    extrapolated_var: Array
    target_level: Array
    agreement: tuple[Agreement, ...]
    gp: ScaleGP

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the m metrics."""
        return self.base.metrics

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the d domains."""
        return self.base.domains

    @property
    def layout(self) -> Layout:
        """Meaning of the columns of a row."""
        return self.base.layout

    @property
    def noise_sd(self) -> Array:
        """``m`` standard deviations of one observation (nats/token)."""
        return self.base.noise_sd

    @property
    def correlation(self) -> Array:
        """``m x m`` correlation of the metrics' errors, the level left out."""
        return self.base.correlation

    @property
    def out_of_fold(self) -> Prediction | None:
        """Predictions of the extrapolated losses by fits without them; level left out."""
        found = self.base.out_of_fold
        if found is None:
            return None
        parts = found.mean, found.sd, found.observation_sd
        return Prediction(*(v[self.pooled] for v in parts))

    @property
    def level(self) -> Array:
        """``m x m`` covariance of what moves all predictions alike (squared nats/token)."""
        return self.target_level + self.base.level

    @property
    def repairs(self) -> tuple[str, ...]:
        """What had to be jittered or replaced for the fit to exist, in sentences."""
        return self.base.repairs

    def predict(self, X: Array) -> Prediction:
        """Predict schedules ``n x D`` at the target; the level's uncertainty is in the sd."""
        got = self.base.predict(X)
        level = np.diagonal(self.target_level)
        return Prediction(
            got.mean, np.sqrt(got.sd**2 + level), np.sqrt(got.observation_sd**2 + level)
        )

    def posterior(self, X: Tensor, **kwargs: Any) -> Any:
        """BoTorch posterior at ``batch_shape x q x D``, the level's uncertainty included."""
        transform = kwargs.pop("posterior_transform", None)
        found = self.base.posterior(X, **kwargs)
        posterior = with_level(found, self.target_level, kwargs.get("output_indices"))
        return posterior if transform is None else transform(posterior)

    def sample_paths(self, num: int, seed: int) -> Callable[[Tensor], Tensor]:
        """Posterior draws as functions ``batch x D -> num x batch x m``, each at its own level."""
        paths = self.base.sample_paths(num, seed)
        shift = level_draws(self.target_level, num, seed)
        return lambda X: paths(X) + shift

    def only(self, metrics: Sequence[str]) -> ScaleSurrogate:
        """The surrogate of some of its metrics, in the order given."""
        base = self.base.only(metrics)
        which = [self.metrics.index(name) for name in metrics]
        return replace(
            self,
            base=base,
            extrapolated=self.extrapolated[:, which],
            extrapolated_var=self.extrapolated_var[:, which],
            target_level=self.target_level[np.ix_(which, which)],
            gp=self.gp.only(which),
        )

    def information(
        self, X: Array, fidelities: Sequence[Fidelity], against: Array, weights: Array
    ) -> Array:
        """What one run of each schedule at each fidelity would tell of it at the target.

        Args:
            X: ``q x D`` schedules.
            fidelities: F of them.
            against: ``D`` schedule; only differences from it count, since the target's level says
                nothing about which schedule is best.
            weights: ``m`` of the objective.

        Returns:
            ``q x F`` expected fall of the variance of the objective's difference at the target
            (squared nats/token).
        """
        q, N, D = len(X), self.gp.target.N[0], self.gp.target.D[0]
        U = schedule_features(self.layout, np.vstack([X, against]))
        places = [(np.arange(q + 1), N, D)]
        places += [(np.arange(q), f.parameters, f.tokens) for f in fidelities]
        rows = FidelityRows(
            np.vstack([U[at] for at, _, _ in places]),
            np.concatenate([np.full(len(at), float(n)) for at, n, _ in places]),
            np.concatenate([np.full(len(at), float(d)) for at, _, d in places]),
            np.full((q + 1) + q * len(fidelities), -1),
        )
        _, cov = self.gp.moments([(1.0, rows)])
        noise = self.gp.run_sd[:, None] ** 2
        out = np.empty((q, len(fidelities)))
        at, seen = np.arange(q), q + 1
        for k in range(len(fidelities)):
            run = seen + k * q + at
            told = (cov[:, at, run] - cov[:, q, run]) ** 2 / (cov[:, run, run] + noise)
            out[:, k] = weights**2 @ told
        return out

    def report(self) -> tuple[SurrogateRow, ...]:
        """The base's rows with the standard deviation of the level."""
        sd = np.sqrt(np.diagonal(self.level))
        return tuple(
            row.model_copy(update={"level_sd": float(s)})
            for row, s in zip(self.base.report(), sd, strict=False)
        )


def fit_scale_surrogate(
    layout: Layout,
    X: Array,
    parameters: Array,
    tokens: Array,
    Y: Array,
    metrics: Sequence[str],
    domains: Sequence[str],
    *,
    target: Fidelity,
    seed: int = 0,
    runs: Ints | None = None,
    groups: Ints | None = None,
    settings: SurrogateSettings | None = None,
    rule: RunRule | None = None,
    prior: ScalePrior | None = None,
) -> ScaleSurrogate:
    """Learn how losses at the target respond to schedules, from trials of any fidelity.

    Any mixture may have been run at any fidelity: no grid is needed, though mixtures run at two
    fidelities say most about how one goes over into the other.

    Args:
        layout: Meaning of the columns of X.
        X: ``n x D`` schedules.
        parameters: ``n`` non-embedding parameters.
        tokens: ``n`` training tokens.
        Y: ``n x m`` losses (nats/token).
        metrics: m names.
        domains: d names.
        target: The fidelity to speak of; it need not have been run.
        seed: Of random starts and folds.
        runs: ``n`` numbers of training runs, equal for checkpoints of one run; None where every
            row is a run of its own. Of a run, its later checkpoints say how it goes on.
        groups: ``n`` numbers, equal for rows that end one trunk.
        settings: Effort and priors of the surrogate.
        rule: Learning-rate rule of runs that were read in the middle; the target is a whole run of
            the same rule. None for whole runs, or where it is not known: with checkpoints of one
            run the interval is then wider.
        prior: Priors of the process over fidelities.

    Raises:
        SurrogateError: As for :func:`mixopt.surrogate.fit_surrogate`, and if sizes or lengths are
            not positive or not one per row.
    """
    X, Y = check_rows(layout, X, Y, metrics, domains)
    rows = _rows(layout, X, parameters, tokens, runs)
    goal = _goal(rows, target, rule)
    rows = rows if rule is None else rows.under(rule)
    gp, used = _fit_gp(rows, Y, goal, rule, prior)
    ends = np.flatnonzero(rows.last)
    extrapolated, variance, level = _extrapolated(gp, rows, Y, used, ends)
    trunk = np.arange(len(ends)) if groups is None else np.asarray(groups)[ends]
    first, pooled = _same_mixtures(X[ends], None if groups is None else trunk)
    losses, known_variance = _pooled(extrapolated, variance, gp.run_sd**2, pooled)
    base = fit_surrogate(
        layout,
        X[ends][first],
        losses,
        metrics,
        domains,
        seed=seed,
        Yvar=known_variance,
        groups=None if groups is None else trunk[first],
        settings=settings,
    )
    agreement = fidelity_agreement(X, rows.N, rows.D, Y)
    return ScaleSurrogate(base, target, ends, pooled, extrapolated, variance, level, agreement, gp)


@step("fitting sizes and lengths")
def _fit_gp(
    rows: FidelityRows, Y: Array, goal: FidelityRows, rule: RunRule | None, prior: ScalePrior | None
) -> tuple[ScaleGP, Ints]:
    """The process over fidelities, and the rows that it is conditioned on."""
    used = rows.settled(rule)
    used = used[spaced(rows.take(used), _CONDITIONED_ON)]
    known = rule is not None or bool(rows.last.all())
    return fit_scale_gp(rows.take(used), Y[used], goal, rule_known=known, prior=prior), used


def _same_mixtures(X: Array, groups: Ints | None) -> tuple[Ints, Ints]:
    """First row of every mixture (and trunk), and the mixture of each row."""
    if len(X) <= _POOLED_FROM:
        return np.arange(len(X)), np.arange(len(X))
    keys = np.round(X / _SAME)
    keys = keys if groups is None else np.column_stack([keys, groups])
    _, first, of = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return first.astype(np.int64), of.ravel().astype(np.int64)


def _pooled(Y: Array, variance: Array, noise: Array, of: Ints) -> tuple[Array, Array]:
    """Means of the rows of each mixture by their precision, and their known variances.

    The surrogate of mixtures adds one run's noise of its own; what several runs average away of it
    is not taken off the known variance, which stays at least 0.
    """
    u = int(of.max()) + 1
    precision = 1.0 / (variance + noise + 1e-12)
    total, mean = np.zeros((u, Y.shape[1])), np.zeros((u, Y.shape[1]))
    np.add.at(total, of, precision)
    np.add.at(mean, of, precision * Y)
    return mean / total, np.maximum(1.0 / total - noise, 0.0)


def _goal(rows: FidelityRows, target: Fidelity, rule: RunRule | None) -> FidelityRows:
    """The target as a row: a whole run, under the same rule where there is one."""
    N, D = np.array([float(target.parameters)]), np.array([float(target.tokens)])
    goal = FidelityRows(rows.U[:1], N, D, np.array([-1]))
    return goal if rule is None else goal.under(RunRule(rule.rate, float(D[0])))


def _rows(
    layout: Layout, X: Array, parameters: Array, tokens: Array, runs: Ints | None
) -> FidelityRows:
    N, D = (np.asarray(v, dtype=float) for v in (parameters, tokens))
    if N.shape != (len(X),) or D.shape != (len(X),):
        raise SurrogateError(
            f"{len(X)} rows need as many parameters and tokens; got {N.shape} and {D.shape}",
            "give the fidelity of every row",
        )
    run = np.full(len(X), -1) if runs is None else np.asarray(runs, dtype=np.int64)
    return FidelityRows(schedule_features(layout, X), N, D, run)


def schedule_features(layout: Layout, X: Array) -> Array:
    """``n x f`` features of schedules ``n x D`` that the process over fidelities sees."""
    W, F = layout.split(X)
    return np.asarray(features(W, F, layout.rate_part(X)))


def _extrapolated(
    gp: ScaleGP, rows: FidelityRows, Y: Array, used: Ints, ends: Ints
) -> tuple[Array, Array, Array]:
    """Losses of the ends at the target, their own variances, and the level's covariance."""
    goal, m = gp.target, Y.shape[1]
    place = np.stack([rows.N / goal.N, rows.area / goal.area, np.exp(rows.fall - goal.fall)])
    away = ends[np.abs(np.log(place[:, ends])).max(0) > 1e-9]
    extrapolated, own = Y.copy(), np.zeros_like(Y)
    shared = np.zeros(m)
    inside = np.searchsorted(used, away)
    known = (inside < len(used)) & (used[np.minimum(inside, len(used) - 1)] == away)
    if known.any():
        change, total, shared = gp.change(inside[known])
        extrapolated[away[known]] += change
        own[away[known]] = np.maximum(total - shared, 0.0)
    for chunk in np.array_split(away[~known], max(1, -(-int((~known).sum()) // _CHUNK))):
        if len(chunk):
            part = rows.take(chunk)
            change, cov = gp.moments([(1.0, part.at(goal)), (-1.0, part)])
            extrapolated[chunk] += change
            own[chunk] = np.maximum(np.diagonal(cov, axis1=1, axis2=2).T - shared, 0.0)
    sd = np.sqrt(shared)
    mix = LEVEL_CORRELATION + (1.0 - LEVEL_CORRELATION) * np.eye(m)
    return extrapolated[ends], own[ends], mix * sd[:, None] * sd


def fidelity_agreement(
    X: Array, parameters: Array, tokens: Array, Y: Array
) -> tuple[Agreement, ...]:
    """Rank agreement of every two fidelities that share at least 3 mixtures; no grid is needed.

    Args:
        X: ``n x D`` schedules; rows within 1e-6 of each other are one mixture.
        parameters: ``n``.
        tokens: ``n``.
        Y: ``n x m`` losses; several runs of one mixture at one fidelity are averaged.
    """
    N, D = np.asarray(parameters, dtype=float), np.asarray(tokens, dtype=float)
    rows = FidelityRows(X, N, D, np.full(len(X), -1))
    group = fidelity_groups(rows)
    mixture = np.unique(np.round(X / _SAME), axis=0, return_inverse=True)[1].ravel()
    means = [_means(Y, mixture, group == k) for k in range(int(group.max()) + 1)]
    sizes = [
        Fidelity(parameters=int(N[group == k][0]), tokens=int(D[group == k][0]))
        for k in range(len(means))
    ]
    out = []
    for high in range(len(means)):
        for low in range(high):
            both = sorted(set(means[low]) & set(means[high]))
            if len(both) < 3:
                continue
            a, b = (np.array([means[k][i] for i in both]) for k in (low, high))
            found = _spearman(a, b)
            if len(found):
                out.append(Agreement(sizes[low], sizes[high], len(both), float(np.mean(found))))
    return tuple(out)


def _spearman(a: Array, b: Array) -> Array:
    """Rank correlation of the columns of ``n x m`` and ``n x m`` that vary in both.

    SciPy's own takes a pair of columns at a time, which was most of the time of a whole fit.
    """
    vary = (np.ptp(a, axis=0) > 0) & (np.ptp(b, axis=0) > 0)
    p, q = (rankdata(part[:, vary], axis=0) - (len(part) + 1) / 2 for part in (a, b))
    return np.asarray((p * q).sum(0) / np.sqrt((p * p).sum(0) * (q * q).sum(0)))


def _means(Y: Array, mixture: Ints, kept: Any) -> dict[int, Array]:
    return {int(i): Y[kept & (mixture == i)].mean(0) for i in np.unique(mixture[kept])}
