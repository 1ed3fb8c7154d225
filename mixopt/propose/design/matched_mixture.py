"""The first guess: train on what the objective asks about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mixopt.propose.candidates.distance import schedule_distance
from mixopt.propose.candidates.pool import by_choice
from mixopt.space import Mixture, Objective, Schedule, SearchSpace, geometry_of

#: Share of the baseline kept in the guess: no domain of it falls to nothing on a guess alone.
KEPT = 0.05


def matched_mixture(
    names: Sequence[str], weights: Mapping[str, float], reference: Mapping[str, float]
) -> Mixture | None:
    """The mixture whose shares are the objective's weights on the domains its metrics are named by.

    If every loss fell with the logarithm of its own domain's share, and by the same amount, this
    mixture would be the best: minimising ``-sum_k w_k log x_k`` on the simplex gives ``x = w``.
    What the objective asks of metrics that name no domain goes to the reference.

    Args:
        names: Of the domains.
        weights: The objective's weight per metric, summing to 1.
        reference: A mixture of which at least a twentieth is kept.

    Returns:
        The mixture; None where no metric with a weight is named like a domain.
    """
    own = {name: (1 - KEPT) * weights.get(name, 0.0) for name in names}
    rest = 1 - sum(own.values())
    if rest >= 1:
        return None
    return Mixture.normalized({n: w + rest * reference.get(n, 0.0) for n, w in own.items()})


def matched_schedule(space: SearchSpace, objective: Objective) -> Schedule | None:
    """The feasible schedule nearest to training on the matched mixture from start to end.

    Args:
        space: What can be chosen.
        objective: Its metrics may be named like domains.

    Returns:
        The schedule; None where no metric with a weight is named like a domain.

    Raises:
        InfeasibleError: If the space is empty.
    """
    baseline = space.baseline_schedule.exposure()
    mixture = matched_mixture(space.names, objective.weights, baseline)
    if mixture is None:
        return None
    geometry = geometry_of(space)
    choices = np.array(geometry.fraction_choices)
    everywhere = np.tile(mixture.to_array(space.names), (len(choices), len(space.phases)))
    rows = by_choice(geometry, choices, everywhere)
    wanted = geometry.encode(Schedule.static(mixture, space.usual_rule))
    far = schedule_distance(geometry.layout, rows, wanted[None])
    return geometry.decode(rows[int(np.argmin(far))])
