"""One robust fitter for every mixing law: maximum a posteriori, Huber, multi-start, batched.

Metrics, restarts and folds are one batch of independent problems; each minimises the Huber loss of
(law - y) / (.05 sd) plus the negative log prior, with the law's analytic derivatives. With several
phases one more parameter, the recency kappa ~ N(0, 2^2), is learned per metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixopt.laws._arrays import Array, namespace
from mixopt.laws._lbfgs import Ints, minimise
from mixopt.laws.mixing import Law
from mixopt.laws.phases import effective_mixture
from mixopt.laws.units import Units

NOISE_SHARE = 0.05
KAPPA_SD = 2.0
_HUBER = 2.0
_AT_BOUND = 3.5


def huber(z: Array, delta: float = _HUBER) -> tuple[Array, Array]:
    """Huber's loss of ``z`` and its derivative: quadratic up to ``delta``, then linear."""
    clipped = np.clip(z, -delta, delta)
    return clipped * (z - 0.5 * clipped), clipped


@dataclass(frozen=True)
class LawFit:
    """A law fitted to m metrics.

    Args:
        law: The form.
        units: The metrics' units.
        theta: ``m x p`` parameters; with several phases kappa is the last column.
        phases: P.
        notes: Per metric, which of the law's assumptions fail on these rows ('' if none).
    """

    law: Law
    units: Units
    theta: Any
    phases: int
    notes: tuple[str, ...]

    def predict(self, W: Any, F: Any) -> Any:
        """Losses ``n x m`` at weights ``n x P x d`` and fractions ``n x P`` (numpy or torch)."""
        xp = namespace(W)
        theta = xp.asarray(self.theta)
        if self.phases > 1:
            R, theta = effective_mixture(theta[:, -1], W, F), theta[:, :-1]
        else:
            R = W[None, :, 0]
        above = theta[:, :1] + self.law.shape(theta, R)
        return xp.asarray(self.units.low) + xp.asarray(self.units.sd) * above.swapaxes(0, 1)


class _Objective:
    """Values and gradients of all problems; problem b fits column ``metric[b]``."""

    def __init__(
        self, law: Law, W: Array, F: Array, Z: Array, metric: Ints, mask: Array, prior: Any
    ) -> None:
        self.law, self.W, self.F, self.Z = law, W, F, Z.T
        self.metric, self.mask = metric, mask
        self.mean, self.sd = prior

    def __call__(self, theta: Array, which: Ints) -> tuple[Array, Array]:
        metric, mask = self.metric[which], self.mask[which]
        many = self.W.shape[1] > 1
        core = theta[:, :-1] if many else theta
        R = effective_mixture(theta[:, -1], self.W, self.F) if many else self.W[None, :, 0]
        error = core[:, :1] + self.law.shape(core, R) - self.Z[metric]
        loss, slope = huber(error / NOISE_SHARE)
        g = slope * mask / NOISE_SHARE
        d = self.law.slopes(core, R)
        grad = (g[:, None] @ d.theta)[:, 0]
        if many:
            dR = effective_mixture(theta[:, -1], self.W, self.F, slope=True)
            dkappa = np.einsum("bn,bnd,bnd->b", g, d.R, dR)
            grad = np.concatenate([grad, dkappa[:, None]], axis=1)
        dev = (theta - self.mean[metric]) / self.sd[metric]
        value = (loss * mask).sum(1) + 0.5 * (dev**2).sum(1)
        return value, grad + dev / self.sd[metric]


def _priors(law: Law, d: int, own: Sequence[int], many: bool) -> tuple[Array, Array]:
    pairs = [law.prior(d, j) for j in own]
    mean, sd = np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])
    if many:
        mean = np.pad(mean, ((0, 0), (0, 1)))
        sd = np.pad(sd, ((0, 0), (0, 1)), constant_values=KAPPA_SD)
    return mean, sd


def fit_law(
    law: Law,
    W: Array,
    F: Array,
    Y: Array,
    own: Sequence[int],
    *,
    restarts: int = 4,
    iterations: int = 200,
    masks: Array | None = None,
    seed: int = 0,
) -> list[LawFit]:
    """Fit one law to every metric.

    Args:
        law: The form.
        W: ``n x P x d`` weights per phase.
        F: ``n x P`` fractions.
        Y: ``n x m`` losses (nats/token).
        own: For each metric the number of its own training domain, or -1.
        restarts: Starts per metric, drawn from the prior at half its width (the first at its
            centre); the best is kept.
        iterations: Steps of each start.
        masks: ``G x n`` rows seen by each of G fits; default one fit that sees all.
        seed: Of the starts.

    Returns:
        G fits.
    """
    masks = np.ones((1, len(Y))) if masks is None else masks
    units, (G, m) = Units.of(Y), (len(masks), Y.shape[1])
    prior = _priors(law, W.shape[-1], own, W.shape[1] > 1)
    metric = np.tile(np.repeat(np.arange(m), restarts), G)
    mask = np.repeat(masks, m * restarts, axis=0)
    noise = np.random.default_rng(seed).standard_normal((restarts, prior[0].shape[1]))
    noise[0] = 0.0
    start = prior[0][metric] + 0.5 * prior[1][metric] * np.tile(noise, (G * m, 1))
    Z = (Y - units.low) / units.sd
    end = minimise(
        _Objective(law, W, F, Z, metric, mask, prior), start, iterations=iterations, tol=1e-5
    )
    best = end.value.reshape(G, m, restarts).argmin(-1)
    theta = end.theta.reshape(G, m, restarts, -1)[np.arange(G)[:, None], np.arange(m), best]
    notes = _notes(law, W, F, own, prior, theta[0])
    return [LawFit(law, units, theta[g], W.shape[1], notes) for g in range(G)]


def _notes(
    law: Law, W: Array, F: Array, own: Sequence[int], prior: tuple[Array, Array], theta: Array
) -> tuple[str, ...]:
    """What the law must say about its own assumptions, per metric."""
    exposure = (W * F[..., None]).sum(1)
    distinct, need = len(np.unique(np.round(exposure, 9), axis=0)), law.least_rows(W.shape[-1])
    names = [*law.parameters(W.shape[-1]), "kappa"]
    out = []
    for i, j in enumerate(own):
        parts = []
        absent = int((exposure[:, j] <= 0).sum()) if j >= 0 else 0
        if law.name == "M4" and absent:
            parts.append(f"own share exactly 0 in {absent} rows, where {law.name} is far off")
        if distinct < need:
            parts.append(f"{distinct} different mixtures for {need - 1} parameters")
        far = np.flatnonzero(np.abs(theta[i] - prior[0][i]) > _AT_BOUND * prior[1][i])
        if len(far):
            parts.append("at a bound: " + ", ".join(names[k] for k in far))
        out.append("; ".join(parts))
    return tuple(out)
