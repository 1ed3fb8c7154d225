"""Draw the figures of the concepts page: ``python docs/figures/make.py``.

The polytope and the trials are mixopt's own, the curve of the surrogate is its fit to four trials
of a loss that is written below.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mixopt import SearchSpace, geometry_of
from mixopt.space import PhaseSpace
from mixopt.surrogate import fit_surrogate

HERE = Path(__file__).parent
BLUE, ORANGE, GREY = "#2f7fc1", "#d9822b", "#8b919b"
NAMES = ("web", "code", "math")
WIDE, HIGH = 640, 330
HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" font-family="sans-serif" '
    'font-size="14"><rect width="{w}" height="{h}" fill="white"/>{body}</svg>\n'
)


def text(x: float, y: float, words: str, anchor: str = "middle", colour: str = "#222") -> str:
    """Words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{words}</text>'


def dot(x: float, y: float, colour: str, size: float = 5, fill: str = "") -> str:
    """A trial."""
    shape = f'cx="{x:.1f}" cy="{y:.1f}" r="{size}" stroke="{colour}"'
    return f'<circle {shape} stroke-width="2" fill="{fill or colour}"/>'


def path(points: np.ndarray, colour: str, fill: str = "none", dash: str = "") -> str:
    """A line through points, closed where it is filled."""
    lines = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    kind = "polygon" if fill != "none" else "polyline"
    look = f'stroke="{colour}" stroke-width="2" fill="{fill}" stroke-dasharray="{dash}"'
    return f'<{kind} points="{lines}" {look}/>'


def triangle(weights: np.ndarray) -> np.ndarray:
    """Places on the page of weights ``n x 3``."""
    corners = np.array([[180.0, 290.0], [460.0, 290.0], [320.0, 48.0]])
    return weights @ corners


def simplex() -> str:
    """All mixtures, those that a space allows, and a design that spreads over them."""
    phase = PhaseSpace(bounds={"web": (0.3, 0.9), "math": (0.0, 0.35), "code": (0.05, 0.5)})
    space = SearchSpace(domains=NAMES, phases=[phase], baseline="uniform")
    geometry = geometry_of(space)
    fractions = geometry.fraction_choices[0]
    grid = np.array([(i, j, 200 - i - j) for i in range(201) for j in range(201 - i)]) / 200
    inside = grid[[not geometry.polytope(fractions).broken(row, 1e-9) for row in grid]]
    hull = _hull(triangle(inside))
    from mixopt.propose import initial_design

    design = initial_design(space, 10, seed=1)
    trials = np.array([s.base.to_array(NAMES) for s in design])
    body = path(triangle(np.eye(3)), GREY, "#f4f5f7") + path(hull, BLUE, "#dcebf7")
    body += "".join(dot(x, y, ORANGE) for x, y in triangle(trials))
    for name, (x, y), shift in zip(NAMES, triangle(np.eye(3)), (24, 24, -14), strict=True):
        body += text(x, y + shift, f"only {name}")
    body += text(500, 90, "all mixtures", "start", GREY) + text(500, 115, "allowed", "start", BLUE)
    return body + text(500, 140, "first trials", "start", ORANGE)


def _hull(points: np.ndarray) -> np.ndarray:
    from scipy.spatial import ConvexHull

    return points[ConvexHull(points).vertices]


def phases() -> str:
    """Two phases, and one mixture of the same exposure."""
    base, ending = {"web": 0.8, "code": 0.15, "math": 0.05}, {"web": 0.3, "code": 0.4, "math": 0.3}
    exposure = {n: 0.8 * base[n] + 0.2 * ending[n] for n in base}
    body = ""
    for row, (title, parts) in enumerate(
        [("two phases", [(0.8, base), (0.2, ending)]), ("same exposure", [(1.0, exposure)])]
    ):
        left, top = 130.0, 40.0 + 140 * row
        body += text(120, top + 45, title, "end")
        for share, mixture in parts:
            low = top
            for name, colour in zip(NAMES, (BLUE, ORANGE, GREY), strict=True):
                height = 90 * mixture[name]
                body += (
                    f'<rect x="{left:.1f}" y="{low:.1f}" width="{400 * share - 2:.1f}" '
                    f'height="{height:.1f}" fill="{colour}"/>'
                )
                low += height
            left += 400 * share
    for k, (name, colour) in enumerate(zip(NAMES, (BLUE, ORANGE, GREY), strict=True)):
        body += text(548, 70 + 24 * k, name, "start", colour)
    body += text(290, 148, "base, first 80 % of the tokens")
    return body + text(490, 148, "ending, 20 %") + text(330, 290, "training tokens")


def surrogate() -> str:
    """A fit to four trials of two domains, and where the next would pay."""
    space = SearchSpace(domains=("code", "web"), baseline="uniform")
    shares = np.array([0.05, 0.25, 0.75, 0.95])
    losses = 2.0 + (shares - 0.42) ** 2 + 0.05 * np.exp(-20 * shares)
    X = np.column_stack([shares, 1 - shares])
    layout = geometry_of(space).layout
    fitted = fit_surrogate(layout, X, losses[:, None], ("loss",), space.names, seed=0)
    at = np.linspace(0.02, 0.98, 97)
    found = fitted.predict(np.column_stack([at, 1 - at]))
    mean, sd = np.ravel(found.mean), np.ravel(found.sd)
    low, high = mean - 1.96 * sd, mean + 1.96 * sd
    span = low.min(), high.max()

    def place(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        up = 262 - 220 * (y - span[0]) / (span[1] - span[0])
        return np.column_stack([70 + 520 * x, up])

    band = np.concatenate([place(at, low), place(at, high)[::-1]])
    best = int(np.argmin(low))
    body = path(band, "none", "#dcebf7") + path(place(at, mean), BLUE)
    body += "".join(dot(x, y, ORANGE) for x, y in place(shares, losses))
    tip = place(at[[best]], low[[best]])[0]
    body += dot(*tip, BLUE, 6, "white") + text(tip[0], tip[1] + 24, "the next trial may pay here")
    body += text(330, 320, "share of code") + text(30, 30, "loss", "start")
    body += text(200, 40, "trials", "start", ORANGE)
    return body + text(200, 62, "prediction, 95 % interval", "start", BLUE)


if __name__ == "__main__":
    for draw in (simplex, phases, surrogate):
        drawn = HEAD.format(w=WIDE, h=HIGH, body=draw())
        (HERE / f"{draw.__name__}.svg").write_text(drawn, encoding="utf-8")
