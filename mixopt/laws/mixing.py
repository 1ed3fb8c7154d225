"""Laws of one metric's loss in the mixture: M1-M4, effective data, log-linear.

Notation: r a mixture over d domains, theta a flat parameter vector, ``B`` problems at once. Every
law has the same floor, c = low + sd * theta_0, in the metric's own units (see
:class:`mixopt.laws.units.Units`), and positive numbers are held as logs. Sources: M1-M4 Ye et al.,
arXiv 2403.16952, section 3; effective data: own tokens that one token of domain j is worth.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixopt.laws._arrays import Array, namespace


@dataclass(frozen=True)
class Slopes:
    """Derivatives of a law: ``theta`` (``B x n x p``) and ``R`` (``B x n x d``)."""

    theta: Array
    R: Array


class Law(ABC):
    """A parametric form; ``theta[0]`` is the floor in units of sd above ``low``."""

    #: As shown in reports.
    name: str

    @abstractmethod
    def parameters(self, d: int) -> list[str]:
        """Names of the p parameters for d domains."""

    @abstractmethod
    def prior(self, d: int, own: int) -> tuple[Array, Array]:
        """Mean and sd of the p normal priors; ``own`` is the metric's own domain or -1."""

    @abstractmethod
    def shape(self, theta: Any, R: Any) -> Any:
        """The law above its floor, in units of sd: ``B x p, (B|1) x n x d -> B x n``."""

    @abstractmethod
    def slopes(self, theta: Array, R: Array) -> Slopes:
        """Derivatives of :meth:`shape` plus the floor ``theta_0``."""

    def least_rows(self, d: int) -> int:
        """Different mixtures below which the law's parameters rest on their priors."""
        return len(self.parameters(d)) + 1


class M1(Law):
    """c + sum_j k_j exp(t_j r_j)."""

    name = "M1"

    def parameters(self, d: int) -> list[str]:
        """Floor, then log k_j, then t_j."""
        return ["c", *(f"log k_{j}" for j in range(d)), *(f"t_{j}" for j in range(d))]

    def prior(self, d: int, own: int) -> tuple[Array, Array]:
        """Terms share the loss evenly; the own domain lowers it."""
        t = np.where(np.arange(d) == own, -2.0, 0.0)
        mean = np.concatenate([[0.0], np.full(d, -np.log(d)), t])
        return mean, np.concatenate([[3.0], np.full(d, 1.0), np.full(d, 2.0)])

    def shape(self, theta: Any, R: Any) -> Any:
        """See the class."""
        d, xp = R.shape[-1], namespace(R)
        exponent = theta[:, None, 1 : d + 1] + theta[:, None, d + 1 :] * R
        return xp.exp(exponent).sum(-1)

    def slopes(self, theta: Array, R: Array) -> Slopes:
        """See the class."""
        d = R.shape[-1]
        term = np.exp(theta[:, None, 1 : d + 1] + theta[:, None, d + 1 :] * R)
        one = np.ones((*term.shape[:-1], 1))
        return Slopes(np.concatenate([one, term, term * R], -1), term * theta[:, None, d + 1 :])


class M2(Law):
    """c + k sum_j exp(t_j r_j)."""

    name = "M2"

    def parameters(self, d: int) -> list[str]:
        """Floor, log k, then t_j."""
        return ["c", "log k", *(f"t_{j}" for j in range(d))]

    def prior(self, d: int, own: int) -> tuple[Array, Array]:
        """As M1, with one factor for all terms."""
        t = np.where(np.arange(d) == own, -2.0, 0.0)
        mean = np.concatenate([[0.0, -np.log(d)], t])
        return mean, np.concatenate([[3.0, 1.0], np.full(d, 2.0)])

    def shape(self, theta: Any, R: Any) -> Any:
        """See the class."""
        return namespace(R).exp(theta[:, None, 1:2] + theta[:, None, 2:] * R).sum(-1)

    def slopes(self, theta: Array, R: Array) -> Slopes:
        """See the class."""
        term = np.exp(theta[:, None, 1:2] + theta[:, None, 2:] * R)
        one = np.ones((*term.shape[:-1], 1))
        parts = [one, term.sum(-1, keepdims=True), term * R]
        return Slopes(np.concatenate(parts, -1), term * theta[:, None, 2:])


class M3(Law):
    """c + k exp(prod_j t_j r_j); flat wherever any share is 0, kept for comparison."""

    name = "M3"

    def parameters(self, d: int) -> list[str]:
        """Floor, log k, then t_j (of which only the product is identified)."""
        return ["c", "log k", *(f"t_{j}" for j in range(d))]

    def prior(self, d: int, own: int) -> tuple[Array, Array]:
        """Factors of size d, so that the product is of order one at the uniform mixture."""
        t = np.where(np.arange(d) == own, -float(d), float(d))
        return np.concatenate([[0.0, 0.0], t]), np.concatenate([[3.0, 1.0], np.full(d, 0.5 * d)])

    def shape(self, theta: Any, R: Any) -> Any:
        """See the class."""
        xp = namespace(R)
        return xp.exp(theta[:, None, 1] + (theta[:, None, 2:] * R).prod(-1))

    def slopes(self, theta: Array, R: Array) -> Slopes:
        """See the class."""
        t = theta[:, None, 2:]
        value = self.shape(theta, R)[..., None]
        factors = np.broadcast_to(t * R, (len(theta), *R.shape[1:]))
        d = R.shape[-1]
        # Product over the others, without dividing by a share that may be 0.
        others = np.where(np.eye(d, dtype=bool), 1.0, factors[..., None, :]).prod(-1)
        parts = [np.ones_like(value), value, value * others * R]
        return Slopes(np.concatenate(parts, -1), value * others * t)


class M4(Law):
    """c + exp(sum_j t_j r_j): the factor k of the paper is absorbed by t, since r sums to 1."""

    name = "M4"

    def parameters(self, d: int) -> list[str]:
        """Floor, then t_j."""
        return ["c", *(f"t_{j}" for j in range(d))]

    def prior(self, d: int, own: int) -> tuple[Array, Array]:
        """Exponents around 1, the own domain's lower."""
        t = np.where(np.arange(d) == own, -2.0, 1.0)
        return np.concatenate([[0.0], t]), np.concatenate([[3.0], np.full(d, 2.0)])

    def shape(self, theta: Any, R: Any) -> Any:
        """See the class."""
        return namespace(R).exp((R * theta[:, None, 1:]).sum(-1))

    def slopes(self, theta: Array, R: Array) -> Slopes:
        """See the class."""
        value = self.shape(theta, R)[..., None]
        return Slopes(
            np.concatenate([np.ones_like(value), value * R], -1), value * theta[:, None, 1:]
        )


class EffectiveData(Law):
    """E + B (eps + sum_j a_j r_j)^(-gamma), a_j > 0: own tokens one token of j is worth."""

    name = "effective data"

    def parameters(self, d: int) -> list[str]:
        """Floor, log B, log eps, log gamma, then log a_j."""
        return ["c", "log B", "log eps", "log gamma", *(f"log a_{j}" for j in range(d))]

    def prior(self, d: int, own: int) -> tuple[Array, Array]:
        """The own domain is worth about 1; others about a tenth, some nothing."""
        mine = np.arange(d) == own
        mean = np.concatenate([[0.0, 0.0, -3.5, -1.0], np.where(mine, 0.0, -2.5)])
        return mean, np.concatenate([[2.0, 1.0, 1.0, 0.5], np.where(mine, 0.5, 1.5)])

    def shape(self, theta: Any, R: Any) -> Any:
        """See the class."""
        xp = namespace(R)
        worth = xp.exp(theta[:, None, 2]) + (R * xp.exp(theta[:, None, 4:])).sum(-1)
        return xp.exp(theta[:, None, 1] - xp.exp(theta[:, None, 3]) * xp.log(worth))

    def slopes(self, theta: Array, R: Array) -> Slopes:
        """See the class."""
        eps, a = np.exp(theta[:, 2])[:, None, None], np.exp(theta[:, None, 4:])
        worth = eps + (R * a).sum(-1, keepdims=True)
        gamma = np.exp(theta[:, 3])[:, None, None]
        value = self.shape(theta, R)[..., None]
        pull = -gamma * value / worth
        parts = [np.ones_like(value), value, pull * eps, -gamma * np.log(worth) * value]
        return Slopes(np.concatenate([*parts, pull * a * R], -1), pull * a)


class LogLinear(Law):
    """c + sum_j t_j log(r_j + delta): a straight line in log shares, delta = 1/100."""

    name = "log-linear"
    _DELTA = 0.01

    def parameters(self, d: int) -> list[str]:
        """Floor, then t_j."""
        return ["c", *(f"t_{j}" for j in range(d))]

    def prior(self, d: int, own: int) -> tuple[Array, Array]:
        """Slopes around 0, the own domain's negative."""
        t = np.where(np.arange(d) == own, -0.5, 0.0)
        return np.concatenate([[1.0], t]), np.concatenate([[3.0], np.full(d, 0.5)])

    def shape(self, theta: Any, R: Any) -> Any:
        """See the class."""
        return (namespace(R).log(R + self._DELTA) * theta[:, None, 1:]).sum(-1)

    def slopes(self, theta: Array, R: Array) -> Slopes:
        """See the class."""
        t = theta[:, None, 1:]
        logs = np.broadcast_to(np.log(R + self._DELTA), (len(theta), *R.shape[1:]))
        one = np.ones((*logs.shape[:-1], 1))
        return Slopes(np.concatenate([one, logs], -1), t / (R + self._DELTA))


class Power(Law):
    """c + sum_j b_j (r_j + delta)^(-g): each domain lowers the loss by its own power term."""

    name = "power"
    _DELTA = 0.01

    def parameters(self, d: int) -> list[str]:
        """Floor, log g, then log b_j."""
        return ["c", "log g", *(f"log b_{j}" for j in range(d))]

    def prior(self, d: int, own: int) -> tuple[Array, Array]:
        """The own domain carries most of the loss."""
        mine = np.arange(d) == own
        mean = np.concatenate([[0.0, -1.0], np.where(mine, -0.5, -2.5)])
        return mean, np.concatenate([[3.0, 0.5], np.full(d, 1.0)])

    def shape(self, theta: Any, R: Any) -> Any:
        """See the class."""
        xp = namespace(R)
        return xp.exp(
            theta[:, None, 2:] - xp.exp(theta[:, None, 1:2]) * xp.log(R + self._DELTA)
        ).sum(-1)

    def slopes(self, theta: Array, R: Array) -> Slopes:
        """See the class."""
        g, logs = np.exp(theta[:, None, 1:2]), np.log(R + self._DELTA)
        term = np.exp(theta[:, None, 2:] - g * logs)
        one = np.ones((*term.shape[:-1], 1))
        dg = (-g * logs * term).sum(-1, keepdims=True)
        return Slopes(np.concatenate([one, dg, term], -1), -g * term / (R + self._DELTA))


class ImplicitDomains(Law):
    """sum_k s_k (c_k + exp(t_k . r)): a validation set read as a blend of K implicit domains.

    Source: Ye et al., section 3.3. The shares s are learned (softmax) unless given; the floors
    c_k are one number, since only their blend is identified.

    Args:
        classes: K.
        shares: Known shares s, K numbers summing to 1, or None.
    """

    name = "implicit domains"

    def __init__(self, classes: int = 3, shares: tuple[float, ...] | None = None) -> None:
        self.classes, self.shares = classes, shares

    def parameters(self, d: int) -> list[str]:
        """Floor, K logits of s, then t_kj row by row."""
        K = self.classes
        return [
            "c",
            *(f"logit s_{k}" for k in range(K)),
            *(f"t_{k},{j}" for k in range(K) for j in range(d)),
        ]

    def prior(self, d: int, own: int) -> tuple[Array, Array]:
        """Like M4 for every implicit domain."""
        K = self.classes
        t = np.tile(np.where(np.arange(d) == own, -1.0, 0.5), K)
        mean = np.concatenate([[0.0], np.zeros(K), t])
        return mean, np.concatenate([[3.0], np.ones(K), np.full(K * d, 2.0)])

    def _parts(self, theta: Any, R: Any) -> tuple[Any, Any, Any]:
        xp, K = namespace(R), self.classes
        if self.shares is None:
            s = xp.exp(theta[:, 1 : K + 1] - xp.log(xp.exp(theta[:, 1 : K + 1]).sum(-1))[:, None])
        else:
            s = theta[:, 1 : K + 1] * 0.0 + xp.asarray(np.array(self.shares))
        t = theta[:, 1 + K :].reshape(len(theta), K, -1)
        return s, t, xp.exp(R @ t.swapaxes(-1, -2))

    def shape(self, theta: Any, R: Any) -> Any:
        """See the class."""
        s, _, e = self._parts(theta, R)
        return (s[:, None] * e).sum(-1)

    def slopes(self, theta: Array, R: Array) -> Slopes:
        """See the class."""
        s, t, e = self._parts(theta, R)
        blend = s[:, None] * e
        total = blend.sum(-1, keepdims=True)
        ds = blend - s[:, None] * total if self.shares is None else np.zeros_like(blend)
        dt = (blend[..., None] * R[:, :, None]).reshape(*blend.shape[:2], -1)
        return Slopes(np.concatenate([np.ones_like(total), ds, dt], -1), blend @ t)


#: Every law by its name.
LAWS: dict[str, Law] = {
    law.name: law
    for law in (M1(), M2(), M3(), M4(), EffectiveData(), LogLinear(), Power(), ImplicitDomains())
}
