"""Domains as a tree: source, topic, quality.

Leaves are the domains, named by their path: ``web/science/high``. What lies between is an inner
node; its weight is the sum of its leaves' weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixopt.errors import SpaceError

#: ``natural``, or the share of each part of the node.
Tie = str | dict[str, float]

SEPARATOR = "/"
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
