"""Ties: proportions that the weights inside a node of the domains' tree keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import SpaceError
from mixopt.space.domain_tree import SEPARATOR, Tie, inner_nodes, leaves
from mixopt.space.geometry.polytope import Polytope

Array = NDArray[np.float64]

_SUM_TOLERANCE = 1e-6


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
        for node in matching_nodes(names, pattern):
            inside = leaves(free, node)
            if not inside:
                continue
            parts = _natural(node, inside, tokens) if isinstance(tie, str) else tie
            yield from _proportions(names, free, node, dict(parts))


def matching_nodes(names: Sequence[str], pattern: str) -> list[str]:
    """Inner nodes that a tie's node or pattern names.

    Raises:
        SpaceError: If there is none.
    """
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
    E, e = np.vstack([*rows, np.ones(d)]), np.append(np.zeros(len(rows)), 1.0)
    allowed = Polytope.unlabelled(-np.eye(d), np.zeros(d), E, e)
    without = allowed.implicit if allowed.clash()[0] < 1e-7 else np.ones(d, dtype=bool)
    zero = _given_nothing(names, ties)
    lost = [n for n, none in zip(names, without, strict=True) if none and n not in zero]
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
        for node in matching_nodes(names, pattern)
        for part, share in tie.items()
        if share == 0
        for leaf in leaves(names, f"{node}{SEPARATOR}{part}")
    }
