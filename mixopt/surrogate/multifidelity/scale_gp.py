"""Losses over mixture, size and training length at once: one Gaussian process for all metrics.

Notation: x mixture, N parameters, S tokens counted by their learning rate, starred at the target;
u = (N/N*)^-c - 1 and v = (S/S*)^-c - 1, c = .16, are 0 at the target; rho = 1 + kappa u + kappa' v.
A loss, in units of the metric, is

    law(N, S)                                             what all mixtures share (scale_law.py)
    + rho f0(x) + u f1(x) + v f2(x)                       smooth in the mixture
    + rho r0(x) + u r1(x) + v r2(x)                       a mixture's own
    + step(D) + cell(N, D)                                what all runs of a fidelity share
    + run(x, N) + order(x, D) + noise.                    one run's own

Runs of one fidelity share their errors (step, cell): a fit that takes them as independent is far
too sure of its exponents. All metrics have one covariance up to their units, so it is factorised
once; the law's coefficients are marginalised in closed form at every pair of exponents (Rasmussen
and Williams 2006, section 2.7), and the exponents are averaged over by what all metrics say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy.linalg import cho_solve, solve_triangular

from mixopt.errors import SurrogateError
from mixopt.laws._arrays import Array
from mixopt.laws._lbfgs import Ints, minimise
from mixopt.surrogate.factorise import factorise
from mixopt.surrogate.multifidelity.fidelity_rows import FidelityRows, fidelity_groups
from mixopt.surrogate.multifidelity.scale_law import LawPrior, law_basis

#: Parts whose standard deviations are learned, in the order of the hyperparameters.
TERMS = ("f0", "f1", "f2", "r0", "r1", "r2", "run", "order", "step", "cell", "noise")
#: What is no property of the mixture and fidelity, but of one training run.
_RUN_NOISE = ("run", "order", "noise")
_JITTER = 1e-5
#: Exponent of the scales u and v of the mixtures' departures.
_REFERENCE = 0.16
#: Rows from which the hyperparameters are learned.
_LEARNED_FROM = 300
#: Nodes per exponent; one where nothing depends on it. Nodes less likely than the best by the
#: factor are left out.
_NODES, _NEGLIGIBLE = 9, 1e-4
#: How far a metric's exponents follow what all metrics say rather than its own losses.
_TOGETHER = 0.5
#: Correlation of two metrics' errors to which the one seen is held half-way (.14 to .44 between
#: the metrics of RedPajama).
_USUAL_CORRELATION = 0.6
#: Rows that a metric's unit is worth before its residuals speak.
_UNIT_ROWS = 10.0


@dataclass(frozen=True)
class ScalePrior:
    """Normal priors of the hyperparameters: centre and standard deviation.

    Args:
        log_length: Lengthscale over square roots of the weights.
        kappa: How the spread over mixtures changes with the fidelity.
        log_sd: Centre per part, see :data:`TERMS`, in units of the spread over mixtures.
        log_sd_width: Width per part; wide where sizes may disagree about mixtures.
        law: Of the law that all mixtures share.
    """

    log_length: tuple[float, float] = (-0.7, 0.5)
    kappa: tuple[float, float] = (0.0, 0.3)
    log_sd: tuple[float, ...] = (0.0, -1.0, -1.0, -2.0, -2.0, -2.0, -1.5, -2.0, -2.0, -2.5, -2.5)
    log_sd_width: tuple[float, ...] = (0.5, 1.0, 0.5, 0.5, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5)
    law: LawPrior = field(default_factory=LawPrior)

    def vectors(self) -> tuple[Array, Array]:
        """Mean and standard deviation of all hyperparameters."""
        head = [self.log_length, self.kappa, self.kappa]
        mean = [h[0] for h in head] + list(self.log_sd)
        return np.array(mean), np.array([h[1] for h in head] + list(self.log_sd_width))


#: A weighted sum of losses, row by row: ``[(weight, rows), ...]``.
Sums = Sequence[tuple[float, FidelityRows]]


class _Covariance:
    """Covariance of two sets of rows as a function of the hyperparameters."""

    def __init__(self, left: FidelityRows, right: FidelityRows, target: FidelityRows) -> None:
        roots = [torch.as_tensor(np.sqrt(np.maximum(rows.U, 0.0))) for rows in (left, right)]
        # The matrix-product form loses the digits that tell a mixture from itself.
        exact = "donot_use_mm_for_euclid_dist"
        self.apart = torch.cdist(roots[0], roots[1], compute_mode=exact).numpy()
        self.u = [(rows.N / target.N[0]) ** -_REFERENCE - 1.0 for rows in (left, right)]
        self.v = [(rows.area / target.area[0]) ** -_REFERENCE - 1.0 for rows in (left, right)]
        self.mix = (self.apart < 1e-6).astype(float)
        size = np.abs(np.log(left.N[:, None] / right.N)) < 1e-9
        length = np.abs(np.log(left.D[:, None] / right.D)) < 1e-9
        run = (left.run[:, None] == right.run) & (left.run[:, None] >= 0)
        same = {"run": run, "order": (self.mix > 0) & length, "step": length, "cell": size & length}
        self.same = {name: flags.astype(float) for name, flags in same.items()}

    def at(self, theta: Array, *, run_noise: bool) -> Array:
        """``q x k``; with ``run_noise`` also what belongs to single runs, white noise apart."""
        var = dict(zip(TERMS, np.exp(2 * theta[3:]), strict=True))
        near, spread = self._near(theta)[0], np.multiply.outer(*self._rho(theta))
        K = (near * var["f0"] + self.mix * var["r0"]) * spread
        K += (near * var["f1"] + self.mix * var["r1"]) * np.multiply.outer(*self.u)
        K += (near * var["f2"] + self.mix * var["r2"]) * np.multiply.outer(*self.v)
        for name in ("step", "cell", *(("run", "order") if run_noise else ())):
            K += var[name] * self.same[name]
        return np.asarray(K)

    def slopes(self, theta: Array, G: Array) -> Array:
        """Sums of G (symmetric) times the derivative of the covariance, per hyperparameter."""
        var = dict(zip(TERMS, np.exp(2 * theta[3:]), strict=True))
        near, bend = self._near(theta)
        rho, u, v = self._rho(theta)[0], self.u[0], self.v[0]
        Gn, Gm = G * near, G * self.mix
        quad = {"f0": rho @ Gn @ rho, "f1": u @ Gn @ u, "f2": v @ Gn @ v}
        quad |= {"r0": rho @ Gm @ rho, "r1": u @ Gm @ u, "r2": v @ Gm @ v}
        quad |= {name: (G * flags).sum() for name, flags in self.same.items()}
        quad["noise"] = np.trace(G)
        Gb = G * bend
        length = var["f0"] * (rho @ Gb @ rho) + var["f1"] * (u @ Gb @ u) + var["f2"] * (v @ Gb @ v)
        both = var["f0"] * (Gn @ rho) + var["r0"] * (Gm @ rho)
        head = [length, 2 * (u @ both), 2 * (v @ both)]
        return np.array(head + [2 * var[name] * quad[name] for name in TERMS])

    def _rho(self, theta: Array) -> list[Array]:
        return [1.0 + theta[1] * u + theta[2] * v for u, v in zip(self.u, self.v, strict=True)]

    def _near(self, theta: Array) -> tuple[Array, Array]:
        """Matern-5/2 correlation, and its derivative in the log lengthscale."""
        r = 5**0.5 * self.apart / np.exp(theta[0])
        falling = np.exp(-r)
        return (1 + r + r * r / 3) * falling, r * r / 3 * (1 + r) * falling


@dataclass(frozen=True)
class _Node:
    """The law at one pair of exponents.

    Args:
        weight: ``m`` posterior probabilities of the pair.
        alpha: Exponent of the size.
        beta: Exponent of the length.
        white: ``n x 7`` basis times the inverse factor of the data's covariance.
        mean: ``m x 7`` coefficients.
        cov: ``m x 7 x 7`` their covariance.
    """

    weight: Array
    alpha: float
    beta: float
    white: Array
    mean: Array
    cov: Array


@dataclass(frozen=True)
class ScaleGP:
    """The fitted process; make one with :func:`fit_scale_gp`.

    Args:
        rows: Where losses were measured.
        target: One row: the place that the law and the departures are relative to.
        Z: ``n x m`` standardised losses.
        offset: ``m`` mean losses (nats/token).
        unit: ``m`` sizes of the metrics' departures (nats/token).
        theta: Hyperparameters.
        prior: Of them.
        rule_known: Whether curves are counted by their learning-rate rule.
        worth: Independent metrics that the m are worth.
        correlation: ``m x m`` of the metrics' errors.
    """

    rows: FidelityRows
    target: FidelityRows
    Z: Array
    offset: Array
    unit: Array
    theta: Array
    prior: ScalePrior
    rule_known: bool
    worth: float
    correlation: Array
    _root: Array = field(init=False, repr=False)
    _white: Array = field(init=False, repr=False)
    _nodes: tuple[_Node, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        pair = _Covariance(self.rows, self.rows, self.target)
        root = factorise(torch.as_tensor(_observed(pair, self.theta))).root.numpy()
        object.__setattr__(self, "_root", root)
        object.__setattr__(self, "_white", solve_triangular(root, self.Z, lower=True))
        object.__setattr__(self, "_nodes", _law_nodes(self))

    @property
    def run_sd(self) -> Array:
        """``m`` standard deviations of the run-to-run noise (nats/token)."""
        parts = [np.exp(2 * self.theta[3 + TERMS.index(name)]) for name in _RUN_NOISE]
        return np.asarray(self.unit * np.sqrt(sum(parts)))

    @property
    def exponents(self) -> tuple[float, float]:
        """Posterior geometric means of alpha and beta."""
        w = np.array([node.weight.mean() for node in self._nodes])
        logs = np.log([(node.alpha, node.beta) for node in self._nodes])
        alpha, beta = np.exp(w @ logs)
        return float(alpha), float(beta)

    def moments(self, sums: Sums) -> tuple[Array, Array]:
        """Mean ``q x m`` and covariance ``m x q x q`` of weighted sums of expected losses.

        Args:
            sums: Rows, all of the same number q, and their weights; run-to-run noise is left out.
        """
        base, half = self._base(sums)
        cov = np.zeros((len(self.unit), *base.shape))
        laws, weights = [], []
        for node in self._nodes:
            R = self._law_part(node, sums, half)
            laws.append(node.mean @ R.T)
            weights.append(node.weight)
            cov += node.weight[:, None, None] * (R @ node.cov @ R.T)
        mean = np.einsum("km,kmq->mq", weights, laws)
        gap = np.stack(laws) - mean
        cov += base + np.einsum("km,kmq,kmr->mqr", weights, gap, gap, optimize=True)
        level = sum(w for w, _ in sums) * self.offset
        centre = level + self.unit * (half.T @ self._white + mean.T)
        return centre, self.unit[:, None, None] ** 2 * cov

    def change(self, which: Ints) -> tuple[Array, Array, Array]:
        """How measured losses will change on the way to the target, each told without itself.

        Args:
            which: ``q`` numbers of the rows.

        Returns:
            ``q x m`` changes, ``q x m`` variances of each, and the ``m`` variances that the changes
            of two rows have in common on average.
        """
        rows, q = self.rows.take(which), len(which)
        sums = [(1.0, rows.at(self.target)), (-1.0, rows)]
        base, half = self._base(sums)
        gain = np.diagonal(self._back(half)[which])
        precision = (solve_triangular(self._root, np.eye(len(self.rows)), lower=True) ** 2).sum(0)
        means, variances, weights, level = [], [], [], []
        common = np.zeros(len(self.unit))
        for node in self._nodes:
            R, B = self._law_part(node, sums, half), self._back(node.white)[which]
            residual = self._back(self._white - node.white @ node.mean.T)[which]
            RA, BA = np.einsum("qp,mpr->mqr", R, node.cov), np.einsum("qp,mpr->mqr", B, node.cov)
            own = gain + (RA * B).sum(2)
            known = precision[which] - (BA * B).sum(2)
            level.append(node.mean @ R.T)
            means.append((half.T @ self._white).T + level[-1] - own * residual.T / known)
            variances.append(np.diagonal(base) + (RA * R).sum(2) + own**2 / known)
            weights.append(node.weight)
            common = common + node.weight * _shared(RA.sum(1) @ R.sum(0), (RA * R).sum((1, 2)), q)
        w = np.array(weights)
        mean, law = (np.einsum("km,kmq->mq", w, v) for v in (means, level))
        var = np.einsum("km,kmq->mq", w, np.array(variances) + (means - mean) ** 2)
        gap = np.stack(level) - law
        common = common + _shared(base.sum(), np.trace(base), q)
        common = common + (w * _shared(gap.sum(2) ** 2, (gap**2).sum(2), q)).sum(0)
        return (self.unit * mean.T, self.unit**2 * var.T, self.unit**2 * np.maximum(common, 0.0))

    def _base(self, sums: Sums) -> tuple[Array, Array]:
        """Covariance ``q x q`` given the law, and ``n x q`` what the data say, whitened."""
        cross = sum(w * self._between(rows, self.rows) for w, rows in sums)
        own = sum(w * v * self._between(a, b) for w, a in sums for v, b in sums)
        half = solve_triangular(self._root, np.asarray(cross).T, lower=True)
        return np.asarray(own - half.T @ half), half

    def _between(self, a: FidelityRows, b: FidelityRows) -> Array:
        return _Covariance(a, b, self.target).at(self.theta, run_noise=False)

    def _law_part(self, node: _Node, sums: Sums, half: Array) -> Array:
        """``q x 7`` what the coefficients add beyond what the data say without the law."""
        bases = [w * law_basis(rows, self.target, node.alpha, node.beta) for w, rows in sums]
        return np.asarray(sum(bases) - half.T @ node.white)

    def _back(self, white: Array) -> Array:
        return np.asarray(solve_triangular(self._root, white, lower=True, trans="T"))

    def conditioned(self, rows: FidelityRows, Y: Array) -> ScaleGP:
        """The same process given other rows and losses ``n x m``."""
        return replace(self, rows=rows, Z=(Y - self.offset) / self.unit)

    def only(self, which: list[int]) -> ScaleGP:
        """The process of some of the metrics, as all of them have taught it."""
        nodes = tuple(
            replace(n, weight=n.weight[which], mean=n.mean[which], cov=n.cov[which])
            for n in self._nodes
        )
        part = replace(
            self,
            Z=self.Z[:, which],
            offset=self.offset[which],
            unit=self.unit[which],
            correlation=self.correlation[np.ix_(which, which)],
        )
        object.__setattr__(part, "_nodes", nodes)
        return part


def _shared(total: Array, own: Array, q: int) -> Array:
    """Mean of a matrix off its diagonal, from its sum and its trace; its one element if q = 1."""
    return np.asarray(total if q == 1 else (total - own) / (q * (q - 1)))


def _law_nodes(gp: ScaleGP) -> tuple[_Node, ...]:
    """The law at every pair of exponents that the losses leave open."""
    loss = np.abs(gp.offset) / gp.unit
    mean, sd = gp.prior.law.moments(gp.target, gp.rule_known)
    spread = [
        bool((v != t).any()) for v, t in ((gp.rows.N, gp.target.N), (gp.rows.area, gp.target.area))
    ]
    precision = np.stack([np.diag(1.0 / (sd * level) ** 2) for level in loss])
    found, score = [], []
    for alpha, beta, log_prior in gp.prior.law.nodes(*(_NODES if s else 1 for s in spread)):
        basis = law_basis(gp.rows, gp.target, alpha, beta)
        white = solve_triangular(gp._root, basis, lower=True)
        A = white.T @ white + precision
        right = (white.T @ gp._white).T + mean / sd**2 / loss[:, None]
        cov = np.linalg.inv(A)
        c = np.einsum("mpr,mr->mp", cov, right)
        fit = (right * c).sum(1) - np.linalg.slogdet(A)[1]
        together = _TOGETHER * gp.worth * fit.mean() + (1.0 - _TOGETHER) * fit
        score.append(0.5 * together + log_prior)
        found.append(_Node(fit, alpha, beta, white, c, cov))
    p = np.exp(np.array(score) - np.max(score, axis=0))
    p /= p.sum(0)
    kept = (p > _NEGLIGIBLE).any(1)
    p /= p[kept].sum(0)
    return tuple(replace(f, weight=w) for f, w, k in zip(found, p, kept, strict=True) if k)


def _observed(pair: _Covariance, theta: Array) -> Array:
    """``n x n`` covariance of the data given the law, run-to-run noise included."""
    K = pair.at(theta, run_noise=True)
    K[np.diag_indices(len(K))] += np.exp(2 * theta[-1]) + _JITTER
    return K


def fit_scale_gp(
    rows: FidelityRows,
    Y: Array,
    target: FidelityRows,
    *,
    rule_known: bool = True,
    prior: ScalePrior | None = None,
    iterations: int = 40,
) -> ScaleGP:
    """Learn the hyperparameters (maximum a posteriori) and condition on the losses.

    Args:
        rows: Where ``Y`` was measured.
        Y: ``n x m`` losses (nats/token).
        target: One row: the place of interest; its mixture does not matter.
        rule_known: Whether lengths are counted by the learning-rate rule where runs were read in
            their middle; if not, the interval grows faster with the distance in length.
        prior: Priors.
        iterations: L-BFGS steps.

    Raises:
        SurrogateError: If a size, a length or a loss is not finite, or sizes are not positive.
    """
    _check(rows, Y, target)
    prior = prior or ScalePrior()
    offset, rest = Y.mean(0), _departures(rows, Y)
    unit = _spread(rest, rows, offset)
    worth = _independent(rest)
    theta, correlation = prior.vectors()[0], np.eye(Y.shape[1])
    some = spaced(rows, _LEARNED_FROM)
    for _ in range(2):
        learner = _Learner(rows.take(some), target, prior, rule_known, worth)
        theta = learner.learned((Y[some] - offset) / unit, np.abs(offset) / unit, theta, iterations)
        factor, correlation = learner.residuals()
        unit = unit * factor
    known = prior, rule_known, worth, correlation
    return ScaleGP(rows, target, (Y - offset) / unit, offset, unit, theta, *known)


class _Learner:
    """Hyperparameters from some rows, the law marginalised at the prior's exponents.

    The law's priors are shares of the loss, so in units of their departures metrics differ in them;
    here all have those of the median, which leaves one covariance.
    """

    def __init__(
        self,
        rows: FidelityRows,
        target: FidelityRows,
        prior: ScalePrior,
        rule_known: bool,
        worth: float,
    ) -> None:
        law = prior.law
        self.pair = _Covariance(rows, rows, target)
        basis = law_basis(rows, target, np.exp(law.log_alpha[0]), np.exp(law.log_beta[0]))
        mean, sd = law.moments(target, rule_known)
        self.mean, self.spread = basis @ mean, basis * sd
        self.prior, self.worth = prior.vectors(), worth
        self.white: Array = np.empty((0, 0))

    def learned(self, Z: Array, loss: Array, theta: Array, iterations: int) -> Array:
        """Hyperparameters for standardised losses ``n x m`` of metrics of these mean losses."""
        law = self.spread @ self.spread.T * float(np.median(loss)) ** 2
        rest = Z - self.mean[:, None] * loss
        n, m = rest.shape
        mean, sd = self.prior

        def objective(points: Array, _: Ints) -> tuple[Array, Array]:
            at = points[0]
            gap = (at - mean) / sd
            try:
                root = np.linalg.cholesky(_observed(self.pair, at) + law)
            except np.linalg.LinAlgError:
                root = np.full((n, n), np.nan)
            if not np.isfinite(root).all():
                # A trial step too far out: a value that is no number sends the line search back.
                return np.array([np.nan]), np.zeros((1, len(at)))
            inverse = cho_solve((root, True), np.eye(n))
            solved = inverse @ rest
            fit = 0.5 * (rest * solved).sum() / m + np.log(np.diagonal(root)).sum()
            G = 0.5 * self.worth * (inverse - solved @ solved.T / m)
            value = self.worth * fit + 0.5 * (gap**2).sum()
            return np.array([value]), (self.pair.slopes(at, G) + gap / sd)[None]

        theta = minimise(objective, theta[None], iterations=iterations, tol=1e-5).theta[0]
        root = factorise(torch.as_tensor(_observed(self.pair, theta) + law)).root.numpy()
        self.white = solve_triangular(root, rest, lower=True)
        return np.asarray(theta)

    def residuals(self) -> tuple[Array, Array]:
        """Factors ``m`` by which the metrics depart more than claimed; their correlation."""
        n, m = self.white.shape
        square = (self.white**2).sum(0)
        factor = np.sqrt((_UNIT_ROWS + square) / (_UNIT_ROWS + n))
        scaled = self.white / np.sqrt(np.maximum(square, 1e-12))
        usual = _USUAL_CORRELATION + (1.0 - _USUAL_CORRELATION) * np.eye(m)
        R = 0.5 * (scaled.T @ scaled + usual)
        np.fill_diagonal(R, 1.0)
        return factor, R


def spaced(rows: FidelityRows, most: int) -> Ints:
    """At most so many rows: the last of each run before its other checkpoints, at random."""
    if len(rows) <= most:
        return np.arange(len(rows))
    order = np.random.default_rng(0).permutation(len(rows))
    first = order[np.argsort(~rows.last[order], kind="stable")]
    return np.sort(first[:most])


def _independent(rest: Array) -> float:
    """Number of independent metrics that those with departures ``n x m`` are worth."""
    size = np.sqrt((rest**2).mean(0))
    scaled = rest[:, size > 0] / size[size > 0]
    if not scaled.size:
        return 1.0
    values = np.linalg.eigvalsh(scaled.T @ scaled)
    return float(values.sum() ** 2 / (values**2).sum())


def _check(rows: FidelityRows, Y: Array, target: FidelityRows) -> None:
    for name, values, wanted in (
        ("parameters", rows.N, target.N[0]),
        ("tokens", rows.area, target.area[0]),
    ):
        good = np.isfinite(values) & (values > 0)
        if not good.all() or not (np.isfinite(wanted) and wanted > 0):
            raise SurrogateError(
                f"{name} of every row and of the target must be positive; got "
                f"{values[~good].tolist() or wanted}",
                "give non-embedding parameters and training tokens",
            )
    if len(Y) != len(rows) or not len(Y) or not np.isfinite(Y).all():
        raise SurrogateError(
            f"{len(rows)} rows need as many rows of finite losses; got shape {Y.shape}",
            "leave out rows that were not measured",
        )


def _departures(rows: FidelityRows, Y: Array) -> Array:
    """``n x m`` losses less the mean of their fidelity."""
    group = fidelity_groups(rows)
    means = np.stack([Y[group == k].mean(0) for k in range(int(group.max()) + 1)])
    return np.asarray(Y - means[group])


def _spread(rest: Array, rows: FidelityRows, offset: Array) -> Array:
    """``m`` standard deviations over mixtures within a fidelity; a share of the loss at least."""
    free = max(len(rest) - int(fidelity_groups(rows).max()) - 1, 1)
    least = 1e-4 if free > 1 else 1e-2
    spread = np.sqrt((rest**2).sum(0) / free)
    return np.asarray(np.maximum(spread, least * np.maximum(1.0, np.abs(offset))))
