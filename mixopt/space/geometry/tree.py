"""Domains as a tree (source, topic, quality), and weights that keep fixed proportions inside it.

Leaves are the domains, named by their path: ``web/science/high``. What lies between is an inner
node; its weight is the sum of its leaves'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from mixopt.errors import SpaceError

Array = NDArray[np.float64]

#: ``natural``, or the share of each part of the node.
Tie = str | dict[str, float]

SEPARATOR = "/"
_SUM_TOLERANCE = 1e-6
_NODE_KEYS = ("domains", "tied", "max_epochs")


def leaves(names: Sequence[str], node: str) -> tuple[str, ...]:
    """The domains at or under a node, in order; none where there is no such node."""
    if node in names:
        return (node,)
    return tuple(n for n in names if n.startswith(node + SEPARATOR))


def inner_nodes(names: Sequence[str]) -> tuple[str, ...]:
    """Every inner node, each before those inside it."""
    found: dict[str, None] = {}
    for name in names:
        parts = name.split(SEPARATOR)
        for depth in range(1, len(parts)):
            found[SEPARATOR.join(parts[:depth])] = None
    return tuple(n for n in found if n not in names)


def outline(names: Sequence[str]) -> tuple[str, ...]:
    """Inner nodes and domains, each node right before what lies inside it.

    The domains alone, in their order, where no inner node holds two of them.
    """
    nodes = inner_nodes(names)
    if all(len(leaves(names, n)) < 2 for n in nodes):
        return tuple(names)
    place: dict[str, int] = {}
    for i, name in enumerate(names):
        parts = name.split(SEPARATOR)
        for depth in range(1, len(parts) + 1):
            place.setdefault(SEPARATOR.join(parts[:depth]), i)

    def key(name: str) -> list[int]:
        parts = name.split(SEPARATOR)
        return [place[SEPARATOR.join(parts[: k + 1])] for k in range(len(parts))]

    return tuple(sorted([*nodes, *names], key=lambda n: (key(n), n.count(SEPARATOR))))


def flattened(domains: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tie]]:
    """A nested mapping as domains named by their paths, and the ties asked for inside it.

    A node that has ``domains`` is an inner one; it may have ``tied`` and ``max_epochs`` too, and
    the latter holds for every domain inside that has none of its own.

    Raises:
        SpaceError: If an inner node is empty or has another key.
    """
    flat: dict[str, Any] = {}
    ties: dict[str, Tie] = {}

    def walk(path: str, known: Any, epochs: Any) -> None:
        if not (isinstance(known, Mapping) and "domains" in known):
            own = known if isinstance(known, Mapping) else {}
            inherits = epochs is not None and "max_epochs" not in own
            flat[path] = {**own, "max_epochs": epochs} if inherits else known
            return
        _check_node(path, known)
        if known.get("tied") is not None:
            ties[path] = known["tied"]
        for name, inside in known["domains"].items():
            walk(f"{path}{SEPARATOR}{name}", inside, known.get("max_epochs", epochs))

    for name, known in domains.items():
        walk(str(name), known, None)
    return flat, ties


def _check_node(path: str, known: Mapping[str, Any]) -> None:
    other = [k for k in known if k not in _NODE_KEYS]
    if other:
        raise SpaceError(
            f"the inner node {path!r} has the unknown key {other[0]!r}",
            f"a node with domains inside takes {', '.join(_NODE_KEYS)}",
        )
    if not isinstance(known["domains"], Mapping) or not known["domains"]:
        raise SpaceError(
            f"the domains of the inner node {path!r} must map names to what is known of each; got "
            f"{known['domains']!r}",
            "write domains: {high: {tokens: 1_000_000}, low: {tokens: 9_000_000}}",
        )


def tie_rows(
    names: Sequence[str],
    tokens: Mapping[str, int | None],
    ties: Mapping[str, Tie],
    allowed: Sequence[str] | None = None,
) -> Iterator[tuple[Array, str]]:
    """What ties say about weights ``d``: rows whose product with the weights is 0, with labels.

    Args:
        names: Of the d domains.
        tokens: Available per domain, for natural shares.
        ties: Per node, or pattern of nodes (``web/*``), ``natural`` or the share of each part.
        allowed: Domains that may have weight at all; all by default.

    Raises:
        SpaceError: If a node or part is unknown, or shares are wrong.
    """
    free = names if allowed is None else [n for n in names if n in allowed]
    for pattern, tie in ties.items():
        for node in _matching(names, pattern):
            inside = leaves(free, node)
            if not inside:
                continue
            parts = _natural(node, inside, tokens) if isinstance(tie, str) else tie
            yield from _proportions(names, free, node, dict(parts))


def _matching(names: Sequence[str], pattern: str) -> list[str]:
    depth = pattern.count(SEPARATOR)
    nodes = inner_nodes(names)
    found = [n for n in nodes if n.count(SEPARATOR) == depth and fnmatchcase(n, pattern)]
    if not found:
        raise SpaceError(
            f"a tie names the unknown node {pattern!r}",
            f"inner nodes are {list(nodes)}"
            if nodes
            else "the domains are no tree: name them source/topic, or nest them under `domains:`",
        )
    return found


def _natural(
    node: str, inside: Sequence[str], tokens: Mapping[str, int | None]
) -> dict[str, float]:
    unknown = [n for n in inside if tokens.get(n) is None]
    if unknown:
        raise SpaceError(
            f"the natural proportions under {node!r} need the tokens of every domain; {unknown} "
            "have none",
            "give their tokens, or the share of each",
        )
    total = sum(tokens[n] or 0 for n in inside)
    return {n[len(node) + 1 :]: (tokens[n] or 0) / total for n in inside}


def _proportions(
    names: Sequence[str], free: Sequence[str], node: str, parts: dict[str, float]
) -> Iterator[tuple[Array, str]]:
    """One row per part but the largest, which takes what the others leave."""
    inside = leaves(free, node)
    members = {part: leaves(free, f"{node}{SEPARATOR}{part}") for part in parts}
    _check_parts(node, inside, parts, members)
    whole = np.array([float(n in inside) for n in names])
    largest = max(parts, key=lambda part: parts[part])
    for part, share in parts.items():
        if part != largest:
            row = np.array([float(n in members[part]) for n in names]) - share * whole
            yield row, f"tie {node}{SEPARATOR}{part} = {share:.4g} of {node}"


def _check_parts(
    node: str,
    inside: Sequence[str],
    parts: Mapping[str, float],
    members: Mapping[str, tuple[str, ...]],
) -> None:
    where = f"the tie of {node!r}"
    unknown = [p for p, of in members.items() if not of]
    if unknown:
        raise SpaceError(
            f"{where} names {unknown}, which are not inside it",
            f"inside are {[n[len(node) + 1 :] for n in inside]}",
        )
    named = [n for of in members.values() for n in of]
    twice = sorted({n for n in named if named.count(n) > 1})
    missing = [n for n in inside if n not in named]
    if twice or missing:
        raise SpaceError(
            f"{where} must give every domain inside it to one part; "
            f"{twice or missing} {'are in two' if twice else 'are in none'}",
            "name each part once",
        )
    total = sum(parts.values())
    if abs(total - 1) > _SUM_TOLERANCE or min(parts.values()) < 0:
        raise SpaceError(
            f"the shares of {where} must be at least 0 and sum to 1; they sum to {total:.6g}",
            "divide each by their sum",
        )


def require_agreement(
    names: Sequence[str], tokens: Mapping[str, int | None], ties: Mapping[str, Tie]
) -> None:
    """Refuse ties that contradict each other: together they would leave some domain no weight.

    Raises:
        SpaceError: Naming the domains and the ties.
    """
    rows = [row for row, _ in tie_rows(names, tokens, ties)]
    if not rows:
        return
    d = len(names)
    E = np.hstack([np.vstack([*rows, np.ones(d)]), np.zeros((len(rows) + 1, d))])
    # As many weights as possible are lifted to a small amount.
    A = np.hstack([-np.eye(d), np.eye(d)])
    cost = np.concatenate([np.zeros(d), -np.ones(d)])
    bounds = [(0, None)] * d + [(0, 1e-6)] * d
    found = linprog(cost, A, np.zeros(d), E, np.append(np.zeros(len(rows)), 1.0), bounds)
    weights = np.zeros(d) if found.x is None else found.x[:d]
    zero = _given_nothing(names, ties)
    lost = [n for n, w in zip(names, weights, strict=True) if w <= 0 and n not in zero]
    if lost:
        raise SpaceError(
            f"the ties of {sorted(ties)} contradict each other: together they leave {lost} no "
            "weight",
            "keep one of two ties that lie inside each other",
        )


def _given_nothing(names: Sequence[str], ties: Mapping[str, Tie]) -> set[str]:
    """Domains that a share of 0 takes out on purpose."""
    return {
        leaf
        for pattern, tie in ties.items()
        if not isinstance(tie, str)
        for node in _matching(names, pattern)
        for part, share in tie.items()
        if share == 0
        for leaf in leaves(names, f"{node}{SEPARATOR}{part}")
    }


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
    asked = {node: tie for p, tie in ties.items() for node in _matching(names, p)}
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
