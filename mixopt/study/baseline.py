"""Whether a study can reach the baseline it is compared with."""

from __future__ import annotations

import numpy as np

from mixopt.space import SearchSpace, geometry_of


def unreachable_baseline(space: SearchSpace) -> str | None:
    """One sentence where the baseline lies outside of the space; None where it lies inside.

    A baseline of one mixture is inside where that mixture may be held through every phase.
    """
    baseline, geometry = space.baseline_schedule, geometry_of(space)
    if len(baseline.phases) > 1:
        broken = geometry.broken(baseline)
    else:
        held = np.tile(baseline.base.to_array(space.names), len(space.phases))
        found = [geometry.polytope(f).broken(held, 1e-5) for f in geometry.fraction_choices]
        broken = min(found, key=lambda limits: sum(amount for _, amount in limits))
    if not broken:
        return None
    worst = dict(sorted(broken, key=lambda limit: limit[1]))
    limits = ", ".join(f"{label} (by {worst[label]:.3g})" for label in list(worst)[-3:])
    return (
        f"The baseline lies outside of the space, which breaks {limits}: no proposed schedule can "
        "be the baseline, and the best of them may be worse than it."
    )
