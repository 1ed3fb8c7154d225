"""Limited-memory BFGS over a batch of independent problems, in numpy.

The fits here are many and small (metrics x restarts x folds): one vectorised step for all of them
costs far less than a scipy call each. Step lengths, histories and stopping are kept per problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mixopt.laws._arrays import Array

Ints = npt.NDArray[np.int64]
#: ``(theta: b x p, which: b problem numbers) -> (value: b, gradient: b x p)``
Objective = Callable[[Array, Ints], tuple[Array, Array]]

_ARMIJO = 1e-4
_MEMORY = 10
_MAX_HALVINGS = 12


@dataclass(frozen=True)
class Minimum:
    """Where each of the ``B`` problems ended: ``theta`` (``B x p``) and its ``value``."""

    theta: Array
    value: Array


class _History:
    """The last steps and gradient changes of each problem, for the two-loop recursion."""

    def __init__(self, batch: int, size: int) -> None:
        self.s = np.zeros((_MEMORY, batch, size))
        self.y = np.zeros((_MEMORY, batch, size))
        self.rho = np.zeros((_MEMORY, batch))
        self.scale = np.ones(batch)
        self.slot = 0

    def push(self, which: Ints, s: Array, y: Array) -> None:
        """Remember one step; a pair of non-positive curvature is left out (rho = 0)."""
        sy = np.einsum("bp,bp->b", s, y)
        yy = np.einsum("bp,bp->b", y, y)
        good = sy > 1e-10 * np.maximum(yy, 1e-300)
        k = self.slot % _MEMORY
        self.s[k], self.y[k], self.rho[k] = 0.0, 0.0, 0.0
        self.s[k, which], self.y[k, which] = s, y
        self.rho[k, which] = np.where(good, 1.0 / np.where(good, sy, 1.0), 0.0)
        self.scale[which] = np.where(good, sy / np.where(good, yy, 1.0), self.scale[which])
        self.slot += 1

    def direction(self, g: Array, which: Ints) -> Array:
        """Minus the inverse-Hessian estimate times the gradient, for the problems ``which``."""
        order = [k % _MEMORY for k in range(max(0, self.slot - _MEMORY), self.slot)]
        q, alphas = g.copy(), {}
        for k in reversed(order):
            alphas[k] = self.rho[k, which] * np.einsum("bp,bp->b", self.s[k, which], q)
            q -= alphas[k][:, None] * self.y[k, which]
        q *= self.scale[which, None]
        for k in order:
            beta = self.rho[k, which] * np.einsum("bp,bp->b", self.y[k, which], q)
            q += (alphas[k] - beta)[:, None] * self.s[k, which]
        return -q


def _line_search(
    fun: Objective, x: Array, f: Array, slope: Array, d: Array, step: Array, which: Ints
) -> tuple[Array, Array, Array, npt.NDArray[np.bool_]]:
    """Backtrack each problem until Armijo's condition holds; the flag says where it does."""
    x_new, f_new, g_new = x.copy(), f.copy(), np.zeros_like(x)
    todo = np.arange(len(x))
    for _ in range(_MAX_HALVINGS):
        trial = x[todo] + step[todo, None] * d[todo]
        value, gradient = fun(trial, which[todo])
        ok = np.isfinite(value) & (value <= f[todo] + _ARMIJO * step[todo] * slope[todo])
        done = todo[ok]
        x_new[done], f_new[done], g_new[done] = trial[ok], value[ok], gradient[ok]
        todo, value = todo[~ok], value[~ok]
        if not len(todo):
            break
        # The parabola through f, slope and the failed value, kept inside [.1, .5] of the step.
        rise = value - f[todo] - step[todo] * slope[todo]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            factor = np.where(np.isfinite(rise), -0.5 * step[todo] * slope[todo] / rise, 0.1)
        step[todo] *= np.clip(np.nan_to_num(factor, nan=0.1), 0.1, 0.5)
    moved = np.ones(len(x), dtype=bool)
    moved[todo] = False
    return x_new, f_new, g_new, moved


def minimise(fun: Objective, theta: Array, *, iterations: int = 300, tol: float = 1e-7) -> Minimum:
    """Minimise ``B`` independent smooth functions at once.

    Args:
        fun: Values and gradients of the problems asked for.
        theta: ``B x p`` starting points.
        iterations: Largest number of steps.
        tol: A problem stops when a step lowers its value by less than ``tol`` of its size.

    Returns:
        The end points; never worse than the starts.
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        # A trial step may overflow; its value is then not finite and the step is cut.
        return _minimise(fun, np.array(theta, dtype=float), iterations, tol)


def _minimise(fun: Objective, x: Array, iterations: int, tol: float) -> Minimum:
    which = np.arange(len(x))
    f, g = fun(x, which)
    history = _History(*x.shape)
    for it in range(iterations):
        d = history.direction(g[which], which)
        slope = np.einsum("bp,bp->b", d, g[which])
        uphill = slope >= 0
        d[uphill], slope[uphill] = -g[which][uphill], -(g[which][uphill] ** 2).sum(1)
        length = np.sqrt((d**2).sum(1))
        step = np.ones(len(which)) if it else np.minimum(1.0, 1.0 / np.maximum(length, 1e-12))
        new_x, new_f, new_g, moved = _line_search(fun, x[which], f[which], slope, d, step, which)
        drop = f[which] - new_f
        keep = which[moved]
        history.push(keep, new_x[moved] - x[keep], new_g[moved] - g[keep])
        x[keep], f[keep], g[keep] = new_x[moved], new_f[moved], new_g[moved]
        which = which[moved & (drop > tol * (1.0 + np.abs(new_f)))]
        if not len(which):
            break
    return Minimum(x, f)
