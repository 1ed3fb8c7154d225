"""What the tree of domains means for the weights: a table of nodes, and linked domains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixopt.space.domain_tree import SEPARATOR, Tie, leaves, outline
from mixopt.space.ties import matching_nodes

Array = NDArray[np.float64]


def tree_table(
    names: Sequence[str], weights: Mapping[str, float], ties: Mapping[str, Tie]
) -> list[dict[str, Any]]:
    """Nodes and domains in the order of the tree; none where the domains are no tree.

    Returns:
        Per row its ``node``, its ``depth`` from 0, the summed ``weight``, and as ``tied`` what is
        asked for inside it ('' for nothing).
    """
    order = outline(names)
    if len(order) == len(names):
        return []
    asked = {node: tie for p, tie in ties.items() for node in matching_nodes(names, p)}
    return [
        {
            "node": node,
            "depth": node.count(SEPARATOR),
            "weight": sum(weights.get(n, 0.0) for n in leaves(names, node)),
            "tied": asked.get(node, ""),
        }
        for node in order
    ]


def blocks(names: Sequence[str], rows: Sequence[Array]) -> list[list[int]]:
    """Domains that ties link, directly or through others; the rest one by one."""
    owner = list(range(len(names)))
    for row in rows:
        linked = np.flatnonzero(row)
        joined = {owner[j] for j in linked}
        owner = [min(joined) if o in joined else o for o in owner]
    return [[j for j, o in enumerate(owner) if o == block] for block in sorted(set(owner))]
