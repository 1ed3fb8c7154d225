"""The shared mixture cross-entropy law, fitted to all metrics at once.

A small model's loss on metric i is read as the cross-entropy of a mixture of K latent token
classes that all domains and metrics share:

    L_i(r) = c_i - b_i sum_k w_ik log[(sum_j r_j q_jk + eps q_0k) / (1 + eps)]

with q_j = softmax(3 phi_j), j = 0 a background row, w_i = softmax(3 phi_own(i) + delta_i / 2),
b_i = exp(beta_i / 2), eps = exp(e - 4), c_i = low_i + sd_i gamma_i. All free numbers have N(0, 1)
priors but gamma, which has N(0, 3). With several phases r is the recency-weighted mixture of
:mod:`mixopt.laws.phases` with one kappa per metric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mixopt.laws._arrays import Array, namespace, softmax, softmax_vjp
from mixopt.laws._lbfgs import Ints, minimise
from mixopt.laws.fitter import KAPPA_SD, NOISE_SHARE, huber
from mixopt.laws.phases import effective_mixture
from mixopt.laws.units import Units

_SHARP = 3.0
_GAMMA_SD = 3.0
#: Keeps the log finite for a class that no domain holds.
_FLOOR = 1e-12
#: Temperature at which restarts are averaged. The objective takes what the law cannot say as if it
#: were noise of :data:`NOISE_SHARE` of the losses' sd, so that its differences overstate by orders
#: of magnitude how much better one fit is than another: at a temperature of 1 one restart would be
#: picked, and averaging them predicts better.
TEMPERATURE = 100.0


@dataclass(frozen=True)
class SharedShape:
    """Sizes of one shared law and where each parameter lies in the flat vector.

    Args:
        own: For each of the m metrics the number of its training domain, or -1 for none.
        domains: d.
        classes: K.
        phases: P; one kappa per metric exists only when P > 1.
    """

    own: tuple[int, ...]
    domains: int
    classes: int
    phases: int = 1

    @property
    def rows(self) -> Ints:
        """Row of phi that each metric starts from: 0 background, 1..d domains, then free rows."""
        free = iter(range(self.domains + 1, self.domains + 1 + len(self.own)))
        return np.array([j + 1 if j >= 0 else next(free) for j in self.own], dtype=np.int64)

    @property
    def layout(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each block, in their order in the flat vector."""
        m, free = len(self.own), sum(j < 0 for j in self.own)
        blocks = {
            "phi": (self.domains + 1 + free, self.classes),
            "delta": (m, self.classes),
            "beta": (m,),
            "gamma": (m,),
            "e": (1,),
        }
        return blocks | ({"kappa": (m,)} if self.phases > 1 else {})

    @property
    def size(self) -> int:
        """Length p of the flat vector."""
        return sum(int(np.prod(s)) for s in self.layout.values())

    def prior_sd(self) -> Array:
        """``p`` prior standard deviations; all prior means are 0."""
        sd = {"gamma": _GAMMA_SD, "kappa": KAPPA_SD}
        return np.concatenate(
            [np.full(int(np.prod(s)), sd.get(k, 1.0)) for k, s in self.layout.items()]
        )

    def unpack(self, theta: Any) -> dict[str, Any]:
        """Views of the blocks of ``... x p`` parameters."""
        out, at = {}, 0
        for name, shape in self.layout.items():
            width = int(np.prod(shape))
            out[name] = theta[..., at : at + width].reshape(*theta.shape[:-1], *shape)
            at += width
        return out


def shared_value(shape: SharedShape, scales: Any, theta: Any, W: Any, F: Any) -> Any:
    """Losses by the law.

    Args:
        shape: Sizes.
        scales: ``low`` and ``sd``, arrays of the same kind as ``theta``.
        theta: ``B x p`` parameter vectors.
        W: ``n x P x d`` weights per phase.
        F: ``n x P`` fractions.

    Returns:
        ``B x n x m`` nats/token (numpy or torch, as given).
    """
    return _Forward.of(shape, theta, W, F).losses(scales)


def mass_features(shape: SharedShape, theta: Any, W: Any, F: Any) -> Any:
    """Where a schedule lies in the law's own terms: sqrt(w_ik) log mass_k, of every class.

    Squared distances between these are differences of class masses, weighed by how much each
    metric cares for the class; they average over the ``B`` fits.

    Returns:
        ``m x n x (B K)`` (numpy or torch, as given).
    """
    xp, at = namespace(theta), _Forward.of(shape, theta, W, F)
    features = at.log_mass * xp.sqrt(at.w)[:, :, None, :] / len(theta) ** 0.5
    return xp.concatenate([features[b] for b in range(len(theta))], -1)


class _Forward(NamedTuple):
    """What the law computes on its way to the losses (numpy or torch).

    Attributes:
        t: Parameter blocks.
        q: Token classes of each row of phi, ``B x rows x K``.
        w: Token classes of each metric, ``B x m x K``.
        eps: Weight of the background, ``B x 1``.
        R: Mixtures that the metrics see, ``B x m x n x d``; ``1 x 1 x n x d`` for one phase.
        mass: Class masses ``B x (m|1) x n x K``.
        log_mass: Their logarithms.
        entropy: Their sum over the classes by ``w``, ``B x n x m``.
        b: Slopes of the metrics, ``B x m``.
    """

    t: dict[str, Any]
    q: Any
    w: Any
    eps: Any
    R: Any
    mass: Any
    log_mass: Any
    entropy: Any
    b: Any

    @classmethod
    def of(cls, shape: SharedShape, theta: Any, W: Any, F: Any) -> _Forward:
        """Pass ``B x p`` parameters and schedules forward."""
        xp, t, many = namespace(theta), shape.unpack(theta), shape.phases > 1
        q, eps = softmax(_SHARP * t["phi"]), xp.exp(t["e"] - 4.0)
        w = softmax(_SHARP * t["phi"][:, shape.rows] + t["delta"] / 2.0)
        R = effective_mixture(t["kappa"], W, F) if many else W[None, None, :, 0]
        share = q / (1.0 + eps)[:, None]
        background = (eps * share[:, 0])[:, None, None] + _FLOOR
        mass = R @ share[:, None, 1 : shape.domains + 1] + background
        log_mass = xp.log(mass)
        if many:
            entropy = (log_mass @ w[..., None])[..., 0].swapaxes(-1, -2)
        else:
            entropy = log_mass[:, 0] @ w.swapaxes(-1, -2)
        return cls(t, q, w, eps, R, mass, log_mass, entropy, xp.exp(t["beta"] / 2.0))

    def losses(self, scales: Any) -> Any:
        """``B x n x m`` nats/token."""
        c = scales.low + scales.sd * self.t["gamma"]
        return c[:, None] - self.b[:, None] * self.entropy


class SharedObjective:
    """Huber loss of the scaled residuals plus the negative log priors, with its gradient.

    Args:
        shape: Sizes.
        W: ``n x P x d``; F: ``n x P``; Y: ``n x m`` losses; scales: their units.
        mask: ``B x n``, 0 where a problem does not see a row (out-of-fold fits).
    """

    def __init__(
        self, shape: SharedShape, W: Array, F: Array, Y: Array, scales: Units, mask: Array
    ) -> None:
        self.shape, self.W, self.F, self.Y = shape, W, F, Y
        self.scales, self.mask, self.prior_sd = scales, mask, shape.prior_sd()

    def __call__(self, theta: Array, which: Ints) -> tuple[Array, Array]:
        """Values ``b`` and gradients ``b x p`` of the problems ``which``."""
        at = _Forward.of(self.shape, theta, self.W, self.F)
        unit = NOISE_SHARE * self.scales.sd
        loss, dz = huber((at.losses(self.scales) - self.Y) / unit)
        mask = self.mask[which][:, :, None]
        value = (loss * mask).sum((1, 2)) + 0.5 * ((theta / self.prior_sd) ** 2).sum(1)
        return value, self._pull_back(at, dz * mask / unit) + theta / self.prior_sd**2

    def _pull_back(self, at: _Forward, g: Array) -> Array:
        """Reverse-mode derivative, block by block, in the order of ``shape.layout``."""
        _, q, w, eps, R, mass, log_mass, entropy, b = at
        d = self.shape.domains
        gb = g * b[:, None]
        if self.shape.phases == 1:
            dw = -gb.swapaxes(1, 2) @ log_mass[:, 0]
            dmass = -(gb @ w)[:, None] / mass
        else:
            per = gb.swapaxes(1, 2)
            dw = -(per[:, :, None] @ log_mass)[:, :, 0]
            dmass = -per[..., None] * w[:, :, None] / mass
        shrink = (1.0 + eps)[:, None]
        total = dmass.sum((1, 2))
        dq = np.zeros_like(q)
        dq[:, 1 : d + 1] = (R.swapaxes(-1, -2) @ dmass).sum(1) / shrink
        dq[:, 0] = eps * total / shrink[:, 0]
        # The slopes in the log masses sum to minus that of the entropies, as w sums to 1.
        deps = ((q[:, 0] * total).sum(1) + gb.sum((1, 2))) / (1.0 + eps[:, 0])
        logits = softmax_vjp(w, dw)
        dphi = _SHARP * softmax_vjp(q, dq)
        dphi[:, self.shape.rows] += _SHARP * logits
        blocks = {
            "phi": dphi,
            "delta": logits / 2.0,
            "beta": -0.5 * (gb * entropy).sum(1),
            "gamma": g.sum(1) * self.scales.sd,
            "e": (deps * eps[:, 0])[:, None],
        }
        if self.shape.phases > 1:
            slope = effective_mixture(at.t["kappa"], self.W, self.F, slope=True)
            dR = dmass @ q[:, None, 1 : d + 1].swapaxes(-1, -2) / shrink[:, None]
            blocks["kappa"] = (dR * slope).sum((2, 3))
        return np.concatenate([v.reshape(len(q), -1) for v in blocks.values()], axis=1)


@dataclass(frozen=True)
class SharedFit:
    """An ensemble of fitted shared laws.

    ``theta`` (``B x p``), ``value`` (``B`` objectives); ``weights`` (``B``) average them.
    """

    shape: SharedShape
    scales: Units
    theta: Array
    value: Array

    @property
    def weights(self) -> Array:
        """Softmax of minus the objectives over :data:`TEMPERATURE`."""
        return np.asarray(softmax(-(self.value - self.value.min()) / TEMPERATURE))

    def predict(self, W: Any, F: Any) -> Any:
        """``n x m`` losses, averaged over the ensemble (numpy or torch, as given)."""
        cast = namespace(W).asarray
        units = Units(cast(self.scales.low), cast(self.scales.sd))
        values = shared_value(self.shape, units, cast(self.theta), W, F)
        return (values * cast(self.weights)[:, None, None]).sum(0)


def fit_shared(
    shape: SharedShape,
    W: Array,
    F: Array,
    Y: Array,
    *,
    restarts: int = 4,
    iterations: int = 300,
    masks: Array | None = None,
    seed: int = 0,
) -> list[SharedFit]:
    """Fit the law to all metrics at once, by L-BFGS from random starts.

    Args:
        shape: Sizes.
        W: ``n x P x d`` weights per phase.
        F: ``n x P`` fractions.
        Y: ``n x m`` losses (nats/token).
        restarts: Starts per problem, all of them averaged.
        iterations: L-BFGS steps.
        masks: ``G x n`` rows that each of the G problems sees; default: one problem, all rows.
        seed: Of the starting points.

    Returns:
        One ensemble per problem.
    """
    masks = np.ones((1, len(Y))) if masks is None else masks
    scales = Units.of(Y)
    rng = np.random.default_rng(seed)
    start = 0.5 * rng.standard_normal((restarts * len(masks), shape.size))
    objective = SharedObjective(shape, W, F, Y, scales, np.repeat(masks, restarts, axis=0))
    end = minimise(objective, start, iterations=iterations, tol=1e-5)
    theta = end.theta.reshape(len(masks), restarts, -1)
    value = end.value.reshape(len(masks), restarts)
    return [SharedFit(shape, scales, th, v) for th, v in zip(theta, value, strict=True)]
