"""Laws of one metric's loss in the mixture: M4 and effective data.

Notation: r a mixture over d domains, theta a flat parameter vector, ``B`` problems at once. Every
law has the same floor, c = low + sd * theta_0, in the metric's own units (see
:class:`mixopt.laws.units.Units`), and positive numbers are held as logs. Sources: M4 Ye et al.,
arXiv 2403.16952, section 3; effective data: own tokens that one token of domain j is worth.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixopt.errors import SurrogateError
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


#: Every law by its name.
LAWS: dict[str, Law] = {law.name: law for law in (M4(), EffectiveData())}

#: The law of all metrics at once (``shared.py``).
SHARED = "shared law"


def known_laws(names: Sequence[str]) -> tuple[str, ...]:
    """The same names, all of which stand for a law.

    Raises:
        SurrogateError: If one does not.
    """
    known = (*LAWS, SHARED)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SurrogateError(
            f"a law must be one of {', '.join(known)}; got {', '.join(map(repr, unknown))}",
            "leave the laws out for all of them",
        )
    return tuple(names)
