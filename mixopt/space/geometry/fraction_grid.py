"""The combinations of phase fractions that a space lets a schedule choose from."""

from __future__ import annotations

import itertools

from mixopt.errors import SpaceError
from mixopt.space.search_space import SearchSpace


def fraction_grid(space: SearchSpace) -> list[tuple[float, ...]]:
    """Every combination of phase fractions, ``P`` each; whether weights fit is not asked.

    Raises:
        SpaceError: If the fractions can never sum to 1, or more than one phase takes the remainder.
    """
    levels = [p.levels() for p in space.phases]
    rest = [i for i, level in enumerate(levels) if level is None]
    if len(rest) > 1:
        raise SpaceError(
            f"only one phase may leave its fraction open; phases "
            f"{[space.phases[i].name for i in rest]} do",
            "give the others a fraction",
        )
    grid = []
    for combo in itertools.product(*[(0.0,) if v is None else v for v in levels]):
        left = 1 - sum(combo)
        row = [*combo]
        if rest:
            row[rest[0]] = round(left, 10)
        if left > 1e-9 if rest else abs(left) < 1e-6:
            grid.append(tuple(row))
    if not grid:
        raise SpaceError(
            f"the fractions of the phases {[p.name for p in space.phases]} never sum to 1",
            "leave the base phase's fraction out: it then takes the remainder",
        )
    return grid
