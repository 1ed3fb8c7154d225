"""Which domain each sequence comes from: exact quotas at every prefix.

Tijdeman's rule for the chairman assignment problem (R. Tijdeman, "The chairman assignment
problem", Discrete Mathematics 32, 1980): among the domains that are entitled to another sequence,
take the one whose entitlement runs out first. After k sequences every domain with weight w has
been taken k·w times within 1 - 1/(2d - 2) < 1, for any d and any weights.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

# Slack on "entitled yet?", far above the rounding of k·w and far below one sequence.
_ROUNDING = 1e-9


def quota_order(weights: Sequence[float], rank: Sequence[int]) -> Iterator[int]:
    """Endless indices into ``weights``; prefix k holds each index k·w times, within one.

    The order does not depend on how many are taken. Costs O(log d) per index.

    Args:
        weights: Shares (``d``) that sum to 1; a zero is never taken.
        rank: Decides ties (``d``, all different), lowest first.
    """
    used = [j for j, weight in enumerate(weights) if weight > 0]
    if len(used) == 1:
        while True:
            yield used[0]
    margin = 1 / (2 * len(used) - 2)
    taken = [0] * len(weights)
    # Domain j may be taken at step k once k·w - taken >= margin, and must be by the last k with
    # k·w - taken <= 1 - margin; neither time changes until it is taken.
    waiting = [(margin / weights[j], rank[j], j) for j in used]
    heapq.heapify(waiting)
    entitled: list[tuple[float, int, int]] = []
    step = 0
    while True:
        step += 1
        while waiting and (waiting[0][0] <= step + _ROUNDING or not entitled):
            _, _, j = heapq.heappop(waiting)
            deadline = (taken[j] + 1 - margin) / weights[j]
            heapq.heappush(entitled, (deadline, rank[j], j))
        _, _, j = heapq.heappop(entitled)
        taken[j] += 1
        heapq.heappush(waiting, ((taken[j] + margin) / weights[j], rank[j], j))
        yield j
