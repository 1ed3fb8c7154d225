"""Losses over mixture, size and training length at once: one Gaussian process per metric.

Notation: x mixture, N parameters, D tokens, (N*, D*) the target; a = (N/N*)^-alpha - 1,
b = (D/D*)^-beta - 1, u = (N/N*)^-c - 1 and v = (D/D*)^-c - 1, c = .16, all 0 at the target;
rho = 1 + kappa u + kappa' v. A loss is

    L(x, N, D) = E + A a + B b + C a b                    the law that all mixtures share
               + rho f0(x) + u f1(x) + v f2(x)            smooth in the mixture
               + rho r0(x) + u r1(x) + v r2(x)            a mixture's own
               + step(D) + cell(N, D)                     what all runs of a fidelity share
               + run(x, N) + order(x, D) + noise.         one run's own

Runs of one fidelity share their errors (step, cell): a fit that takes them as independent is far
too sure of its exponents. How mixtures depart from the law says nothing of its exponents, hence u
and v. All but alpha, beta, kappa and the variances is Gaussian; these are at
their maximum a posteriori, and alpha and beta are averaged over, since a few sizes and lengths
leave them open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import torch
from torch import Tensor

from mixopt.errors import SurrogateError
from mixopt.laws._arrays import Array
from mixopt.laws._lbfgs import Ints, minimise
from mixopt.surrogate.factorise import factorise

#: Parts of the loss whose standard deviations are learned, in the order of the hyperparameters.
TERMS = ("f0", "f1", "f2", "r0", "r1", "r2", "run", "order", "step", "cell", "noise")
#: What is no property of the mixture and fidelity, but of one training run.
_RUN_NOISE = ("run", "order", "noise")
_JITTER = 1e-5
#: Exponent of the scales u and v of the mixtures' departures.
_REFERENCE = 0.16
#: Variance of the level E, in units of the law's squared amplitude.
_LEVEL = 25.0
_PRODUCT = 0.1
#: Log posterior by which a node must fall behind the mode, for every metric, to be left out.
_NEGLIGIBLE = 8.0
#: Step in the logarithm of an exponent over which the posterior's curvature is taken.
_CURVE = 0.4


@dataclass(frozen=True)
class ScalePrior:
    """Normal priors: centre and standard deviation.

    The amplitudes A and B have mean and standard deviation ``reducible`` times the mean loss. Log
    standard deviations of the parts are in units of the spread over mixtures. The exponents' centre
    .16 is the geometric mean of the published ones with a floor (Hoffmann et al., arXiv 2203.15556:
    .34, .28) and without (Kaplan et al., arXiv 2001.08361: .076, .095); their width covers both.

    Args:
        log_alpha: Exponent of the size.
        log_beta: Exponent of the length.
        log_length: Lengthscale over square roots of the weights.
        kappa: How the spread over mixtures changes with the fidelity.
        log_sd: Centre per part, see :data:`TERMS`.
        log_sd_width: Width per part; wide where sizes may disagree about mixtures.
        reducible: Share of the loss.
    """

    log_alpha: tuple[float, float] = (-1.83, 0.8)
    log_beta: tuple[float, float] = (-1.83, 0.8)
    log_length: tuple[float, float] = (-0.7, 0.5)
    kappa: tuple[float, float] = (0.0, 0.3)
    log_sd: tuple[float, ...] = (0.0, -1.0, -1.0, -2.0, -2.0, -2.0, -1.5, -2.0, -2.0, -2.5, -2.5)
    log_sd_width: tuple[float, ...] = (0.5, 1.0, 0.5, 0.5, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5)
    reducible: float = 0.3

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of all hyperparameters."""
        head = [self.log_alpha, self.log_beta, self.log_length, self.kappa, self.kappa]
        mean = [h[0] for h in head] + list(self.log_sd)
        sd = [h[1] for h in head] + list(self.log_sd_width)
        return torch.tensor(mean, dtype=torch.float64), torch.tensor(sd, dtype=torch.float64)


@dataclass(frozen=True)
class FidelityRows:
    """Where losses are measured or wanted.

    Args:
        U: ``n x f`` features of the mixtures, at least 0.
        N: ``n`` parameters.
        D: ``n`` training tokens.
        run: ``n`` numbers of training runs; rungs of one run share it, -1 for a run of its own.
    """

    U: Array
    N: Array
    D: Array
    run: Ints

    def __len__(self) -> int:
        return len(self.N)

    def at(self, target: tuple[float, float]) -> FidelityRows:
        """The same mixtures at one fidelity, in runs of their own."""
        n = len(self)
        size, length = np.full(n, target[0]), np.full(n, target[1])
        return FidelityRows(self.U, size, length, np.full(n, -1))

    def take(self, rows: Ints) -> FidelityRows:
        """Some of the rows."""
        return FidelityRows(self.U[rows], self.N[rows], self.D[rows], self.run[rows])


#: A weighted sum of losses, row by row: ``[(weight, rows), ...]``.
Sums = Sequence[tuple[float, FidelityRows]]


class _Pair:
    """What two sets of rows have in common that no hyperparameter changes."""

    def __init__(
        self, left: FidelityRows, right: FidelityRows, target: tuple[float, float]
    ) -> None:
        roots = [torch.as_tensor(np.sqrt(np.maximum(rows.U, 0.0))) for rows in (left, right)]
        # The matrix-product form loses the digits that tell a mixture from itself.
        exact = "donot_use_mm_for_euclid_dist"
        self.apart = torch.cdist(roots[0], roots[1], compute_mode=exact)
        self.size = [torch.as_tensor(np.log(rows.N / target[0])) for rows in (left, right)]
        self.length = [torch.as_tensor(np.log(rows.D / target[1])) for rows in (left, right)]
        mix = self.apart < 1e-6
        size, length = (_equal(*v) for v in (self.size, self.length))
        run = torch.as_tensor((left.run[:, None] == right.run) & (left.run[:, None] >= 0))
        same = {"run": run, "order": mix & length, "step": length, "cell": length & size}
        self.mix = mix.to(torch.float64)
        self.same = {name: flags.to(torch.float64) for name, flags in same.items()}


def _equal(a: Tensor, b: Tensor) -> Tensor:
    return (a[:, None] - b).abs() < 1e-9


def _outer(a: Tensor, b: Tensor) -> Tensor:
    return a[:, :, None] * b[:, None, :]


@dataclass(frozen=True)
class ScaleGP:
    """The fitted processes of m metrics; make one with :func:`fit_scale_gp`.

    Args:
        rows: Where losses were measured.
        target: Parameters and tokens that a and b are relative to.
        Z: ``m x n`` standardised losses.
        offset: ``m`` mean losses (nats/token).
        unit: ``m`` standard deviations over mixtures within a fidelity (nats/token).
        theta: ``m x p`` hyperparameters.
        prior: Of the hyperparameters.
    """

    rows: FidelityRows
    target: tuple[float, float]
    Z: Tensor
    offset: Array
    unit: Array
    theta: Tensor
    prior: ScalePrior = field(default_factory=ScalePrior)

    @property
    def run_sd(self) -> Array:
        """``m`` standard deviations of the run-to-run noise (nats/token)."""
        parts = [torch.exp(2 * self.theta[:, 5 + TERMS.index(name)]) for name in _RUN_NOISE]
        return np.asarray(self.unit * torch.stack(parts).sum(0).sqrt().numpy())

    def moments(self, sums: Sums, *, leave_own: bool = False) -> tuple[Array, Array]:
        """Mean ``q x m`` and covariance ``m x q x q`` of weighted sums of expected losses.

        Args:
            sums: Rows, all of the same number q, and their weights; run-to-run noise is left
                out of them.
            leave_own: Whether sum i is to be predicted without the measured row i (q = n); of the
                covariance only the diagonal is then adjusted.
        """
        cross = [(w, _Pair(rows, self.rows, self.target)) for w, rows in sums]
        own = [(w * v, _Pair(a, b, self.target)) for w, a in sums for v, b in sums]
        data = _Pair(self.rows, self.rows, self.target)
        level = self._level()
        score: list[Tensor] = []
        means: list[Tensor] = []
        covs: list[Tensor] = []
        with torch.no_grad():
            for theta, log_weight in self._nodes(data, level):
                L, white = _whitened(theta, data, self.Z, level)
                value = log_weight + _log_posterior(theta, L, white, self.prior)
                if score and not bool((value > score[0] - _NEGLIGIBLE).any()):
                    continue
                K = _summed([(w, covariance(theta, p, level, run_noise=False)) for w, p in cross])
                P = _summed([(w, covariance(theta, p, level, run_noise=False)) for w, p in own])
                half = torch.linalg.solve_triangular(L, K.transpose(1, 2), upper=False)
                law = _summed([(w, _law_mean(theta, p, level)) for w, p in cross])
                mean = law + (half.transpose(1, 2) @ white)[..., 0]
                cov = P - half.transpose(1, 2) @ half
                if leave_own:
                    mean, cov = _without_own(L, white, half, mean, cov)
                score.append(value)
                means.append(mean)
                covs.append(cov)
        return self._mixed(torch.stack(score), torch.stack(means), torch.stack(covs), sums)

    def _mixed(self, score: Tensor, means: Tensor, covs: Tensor, sums: Sums) -> tuple[Array, Array]:
        """Moments of the mixture over the nodes, in nats/token."""
        p = torch.softmax(score, 0)[..., None]
        mean = (p * means).sum(0)
        gap = means - mean
        cov = (p[..., None] * (covs + gap[..., :, None] * gap[..., None, :])).sum(0)
        level = sum(w for w, _ in sums) * self.offset
        return level + self.unit * mean.numpy().T, self.unit[:, None, None] ** 2 * cov.numpy()

    def _nodes(self, data: _Pair, level: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Hyperparameters to average over, the mode first, each with ``m`` log weights.

        Gauss-Hermite nodes in the logarithms of the exponents, as far apart as the posterior is
        wide there; the weights turn the Gaussian they are made for into that posterior. An exponent
        that no row depends on stays at its mode.
        """
        free = [
            bool((values != wanted).any())
            for values, wanted in zip((self.rows.N, self.rows.D), self.target, strict=True)
        ]
        width = torch.stack([self._width(k, data, level) for k in (0, 1)], dim=1)
        marks = [(0.0, -(3**0.5), 3**0.5) if f else (0.0,) for f in free]
        out = []
        for shift in product(*marks):
            theta = self.theta.clone()
            theta[:, :2] += width * torch.tensor(shift, dtype=theta.dtype)
            weight = sum(0.5 * s * s + float(np.log(1 / 6 if s else 2 / 3)) for s in shift)
            out.append((theta, torch.full((len(theta),), weight, dtype=theta.dtype)))
        return out

    def _width(self, which: int, data: _Pair, level: Tensor) -> Tensor:
        """``m`` standard deviations of the log exponent 0 or 1, from the posterior's curvature."""
        found = []
        for shift in (0.0, -_CURVE, _CURVE):
            theta = self.theta.clone()
            theta[:, which] += shift
            value = _log_posterior(theta, *_whitened(theta, data, self.Z, level), self.prior)
            found.append(value)
        bend = (2 * found[0] - found[1] - found[2]) / _CURVE**2
        widest = self.prior.vectors()[1][which]
        return torch.minimum(bend.clamp_min(1e-6) ** -0.5, widest)

    def conditioned(self, rows: FidelityRows, Y: Array) -> ScaleGP:
        """The same processes given other rows and losses ``n x m``."""
        Z = torch.as_tensor(((Y - self.offset) / self.unit).T)
        return replace(self, rows=rows, Z=Z)

    def only(self, which: list[int]) -> ScaleGP:
        """The processes of some of the metrics."""
        return replace(
            self,
            Z=self.Z[which],
            offset=self.offset[which],
            unit=self.unit[which],
            theta=self.theta[which],
        )

    def _level(self) -> Tensor:
        return torch.as_tensor(self.prior.reducible * np.abs(self.offset) / self.unit)


def _summed(parts: list[tuple[float, Tensor]]) -> Tensor:
    total = parts[0][0] * parts[0][1]
    for weight, part in parts[1:]:
        total = total + weight * part
    return total


def covariance(theta: Tensor, pair: _Pair, level: Tensor, *, run_noise: bool) -> Tensor:
    """``m x q x k`` prior covariance, standardised; see the head of the module.

    Args:
        theta: ``m x p`` hyperparameters.
        pair: The two sets of rows.
        level: ``m`` standard deviations of the law's amplitudes.
        run_noise: Whether to add what belongs to single runs (noise of a row with itself apart).
    """
    a, b = _law_scales(theta, pair)
    u, v = ([torch.exp(-_REFERENCE * s)[None] - 1 for s in w] for w in (pair.size, pair.length))
    var = {k: torch.exp(2 * theta[:, 5 + i])[:, None, None] for i, k in enumerate(TERMS)}
    rho = [1 + theta[:, 3:4] * u[i] + theta[:, 4:5] * v[i] for i in (0, 1)]
    uu, vv, spread = _outer(*u), _outer(*v), _outer(*rho)
    r = 5**0.5 * pair.apart / torch.exp(theta[:, 2])[:, None, None]
    near = (1 + r + r * r / 3) * torch.exp(-r)
    law = _LEVEL + _outer(*a) + _outer(*b) + _PRODUCT * _outer(a[0] * b[0], a[1] * b[1])
    smooth = near * (var["f0"] * spread + var["f1"] * uu + var["f2"] * vv)
    own = pair.mix * (var["r0"] * spread + var["r1"] * uu + var["r2"] * vv)
    shared = sum(var[name] * pair.same[name] for name in ("step", "cell"))
    total: Tensor = (level**2)[:, None, None] * law + smooth + own + shared
    if run_noise:
        total = total + sum(var[name] * pair.same[name] for name in ("run", "order"))
    return total


def _law_scales(theta: Tensor, pair: _Pair) -> tuple[list[Tensor], list[Tensor]]:
    """The law's a and b at the left and the right rows, ``m x q`` each."""
    alpha, beta = torch.exp(theta[:, 0, None]), torch.exp(theta[:, 1, None])
    a = [torch.expm1(-alpha * s) for s in pair.size]
    return a, [torch.expm1(-beta * s) for s in pair.length]


def _law_mean(theta: Tensor, pair: _Pair, level: Tensor) -> Tensor:
    """``m x q`` expected law at the left rows: losses fall with size and length."""
    a, b = _law_scales(theta, pair)
    return level[:, None] * (a[0] + b[0])


def _whitened(theta: Tensor, pair: _Pair, Z: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Cholesky factor of the data's covariance, and the whitened data."""
    L = factorise(_observed(theta, pair, Z, level)).root
    return L, _white(theta, pair, Z, level, L)


def _observed(theta: Tensor, pair: _Pair, Z: Tensor, level: Tensor) -> Tensor:
    """``m x n x n`` covariance of the data, run-to-run noise included."""
    noise = torch.exp(2 * theta[:, -1, None]) + _JITTER
    return covariance(theta, pair, level, run_noise=True) + torch.diag_embed(noise.expand(Z.shape))


def _white(theta: Tensor, pair: _Pair, Z: Tensor, level: Tensor, L: Tensor) -> Tensor:
    rest = (Z - _law_mean(theta, pair, level))[..., None]
    white: Tensor = torch.linalg.solve_triangular(L, rest, upper=False)
    return white


def _log_posterior(theta: Tensor, L: Tensor, white: Tensor, prior: ScalePrior) -> Tensor:
    mean, sd = prior.vectors()
    fit = 0.5 * (white**2).sum((1, 2)) + torch.log(torch.diagonal(L, dim1=1, dim2=2)).sum(1)
    value: Tensor = -fit - 0.5 * (((theta - mean) / sd) ** 2).sum(1)
    return value


def _without_own(
    L: Tensor, white: Tensor, half: Tensor, mean: Tensor, cov: Tensor
) -> tuple[Tensor, Tensor]:
    """Moments of sum i without row i, from one factor (leave-one-out in closed form)."""
    inverse = torch.cholesky_inverse(L)
    alpha = torch.linalg.solve_triangular(L.transpose(1, 2), white, upper=True)[..., 0]
    gain = torch.linalg.solve_triangular(L.transpose(1, 2), half, upper=True)
    own = torch.diagonal(gain, dim1=1, dim2=2)
    precision = torch.diagonal(inverse, dim1=1, dim2=2)
    return mean - own * alpha / precision, cov + torch.diag_embed(own**2 / precision)


def fit_scale_gp(
    rows: FidelityRows,
    Y: Array,
    target: tuple[float, float],
    *,
    prior: ScalePrior | None = None,
    iterations: int = 40,
) -> ScaleGP:
    """Learn the hyperparameters of every metric (maximum a posteriori).

    Args:
        rows: Where ``Y`` was measured.
        Y: ``n x m`` losses (nats/token).
        target: Parameters and tokens of interest.
        prior: Priors.
        iterations: L-BFGS steps.

    Raises:
        SurrogateError: If a size, a length or a loss is not finite, or sizes are not positive.
    """
    _check(rows, Y, target)
    prior = prior or ScalePrior()
    offset, unit = Y.mean(0), _spread(rows, Y)
    Z = torch.as_tensor(((Y - offset) / unit).T)
    level = torch.as_tensor(prior.reducible * np.abs(offset) / unit)
    pair = _Pair(rows, rows, target)

    def objective(theta: Array, which: Ints) -> tuple[Array, Array]:
        t = torch.tensor(theta, requires_grad=True)
        L, info = torch.linalg.cholesky_ex(_observed(t, pair, Z[which], level[which]))
        # A trial step too far out: a value that is no number sends the line search back.
        L = torch.where((info > 0)[:, None, None], torch.full_like(L, torch.nan), L)
        white = _white(t, pair, Z[which], level[which], L)
        value = -_log_posterior(t, L, white, prior)
        value.sum().backward()  # type: ignore[no-untyped-call]
        assert t.grad is not None
        return value.detach().numpy(), t.grad.numpy()

    start = prior.vectors()[0].repeat(len(Z), 1).numpy()
    end = minimise(objective, start, iterations=iterations, tol=1e-5)
    return ScaleGP(rows, target, Z, offset, unit, torch.as_tensor(end.theta), prior)


def _check(rows: FidelityRows, Y: Array, target: tuple[float, float]) -> None:
    for name, values, wanted in (
        ("parameters", rows.N, target[0]),
        ("tokens", rows.D, target[1]),
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


def fidelity_groups(rows: FidelityRows) -> Ints:
    """Number of the fidelity of each row, ascending in FLOPs."""
    keys = np.stack([rows.N * rows.D, rows.N, rows.D], axis=1)
    return np.asarray(np.unique(keys, axis=0, return_inverse=True)[1]).ravel().astype(np.int64)


def _spread(rows: FidelityRows, Y: Array) -> Array:
    """``m`` standard deviations over mixtures within a fidelity; a share of the loss at least."""
    group = fidelity_groups(rows)
    rest = Y - np.stack([Y[group == k].mean(0) for k in range(group.max() + 1)])[group]
    free = max(len(Y) - group.max() - 1, 1)
    least = 1e-4 if free > 1 else 1e-2
    spread = np.sqrt((rest**2).sum(0) / free)
    return np.asarray(np.maximum(spread, least * np.maximum(1.0, np.abs(Y.mean(0)))))
