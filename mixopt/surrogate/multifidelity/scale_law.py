"""The law of size and length that all mixtures share, linear but for its two exponents.

Notation: N parameters, S tokens counted by their learning rate, F how far the rate has fallen,
starred at the target; x = log(N/N*), s = log(S/S*). A loss is

    E + A (e^(-alpha x) - 1)/alpha + B (e^(-beta s) - 1)/beta + C (product of the two) - c (F - F*)
      + G x^2/2 + H s^2/2,

so A and B are the slopes at the target (minus the change of the loss per unit of log size and log
length). G and H stand for what the power laws miss: they grow with the distance from the target's
own scale, and with them the interval. All but alpha and beta have normal priors in shares of the
mean loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from mixopt.laws._arrays import Array
from mixopt.surrogate.multifidelity.fidelity_rows import FidelityRows

#: Parameters and tokens at which the published slopes are taken.
_PUBLISHED = (3e8, 3e10)


@dataclass(frozen=True)
class LawPrior:
    """Normal priors, centre and standard deviation; slopes and the rest as shares of the loss.

    Slopes at 300M parameters and 30B tokens, as shares of the loss there, and exponents: Hoffmann
    et al. (arXiv 2203.15556) .068 and .050, .34 and .28; its refit (Besiroglu et al., arXiv
    2404.10102) .071 and .041, .35 and .37; Kaplan et al. (arXiv 2001.08361) .076 and .095, .076 and
    .095. The centres are their means, geometric for exponents. Tissue et al. (arXiv 2408.11029)
    give a fall of the loss of .02 to .03 of it over a whole cosine; the tables of mixing laws say
    less (``docs/negative-results.md``).

    Args:
        log_alpha: Exponent of the size.
        log_beta: Exponent of the length.
        size: Slope A.
        length: Slope B.
        product: Of the product C.
        larger: By how much B is larger per unit of log size: 0 where size and length add (Hoffmann
            et al.), .0045 by Kaplan et al.
        fall: c, the loss that a rate fallen to 0 takes away.
        bend_size: Of G.
        bend_length: Of H.
        unknown_rule: Of H where curves are read in the middle of runs of an unknown rule.
    """

    log_alpha: tuple[float, float] = (-1.57, 0.6)
    log_beta: tuple[float, float] = (-1.54, 0.5)
    size: tuple[float, float] = (0.07, 0.03)
    length: tuple[float, float] = (0.06, 0.025)
    product: float = 0.005
    larger: float = 0.004
    fall: tuple[float, float] = (0.012, 0.012)
    bend_size: float = 0.004
    bend_length: float = 0.004
    unknown_rule: float = 0.03

    def moments(self, target: FidelityRows, rule_known: bool) -> tuple[Array, Array]:
        """Mean and standard deviation of the 7 coefficients, in shares of the loss.

        The slope in length is carried from where it was published to the target's place, by no more
        than a factor of 2.5.
        """
        x, s = np.log(target.N[0] / _PUBLISHED[0]), np.log(target.area[0] / _PUBLISHED[1])
        far = np.log(2.5)
        tied = 1.0 + np.clip(self.larger * x / self.length[0], -0.5, 0.5)
        length = tied * np.exp(np.clip(-np.exp(self.log_beta[0]) * s, -far, far))
        bend = self.bend_length if rule_known else self.unknown_rule
        mean = [0.0, self.size[0], length * self.length[0], 0.0, self.fall[0]]
        sd = [3.0, self.size[1], length * self.length[1], self.product, self.fall[1]]
        return np.array([*mean, 0.0, 0.0]), np.array([*sd, self.bend_size, bend])

    def nodes(self, sizes: int, lengths: int) -> Iterator[tuple[float, float, float]]:
        """Exponents alpha, beta on a grid and their log prior densities."""
        spots = [np.linspace(-2.2, 2.2, k) if k > 1 else np.zeros(1) for k in (sizes, lengths)]
        for a, b in product(*spots):
            yield (
                float(np.exp(self.log_alpha[0] + self.log_alpha[1] * a)),
                float(np.exp(self.log_beta[0] + self.log_beta[1] * b)),
                float(-0.5 * (a * a + b * b)),
            )


def law_basis(rows: FidelityRows, target: FidelityRows, alpha: float, beta: float) -> Array:
    """``n x 7`` what the coefficients multiply; all but the first are 0 at the target."""
    x, s = np.log(rows.N / target.N[0]), np.log(rows.area / target.area[0])
    a, b = np.expm1(-alpha * x) / alpha, np.expm1(-beta * s) / beta
    fall = target.fall[0] - rows.fall
    return np.stack([np.ones(len(rows)), a, b, a * b, fall, x * x / 2, s * s / 2], axis=1)
