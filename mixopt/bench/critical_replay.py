"""The critical old-data share of continual pretraining, from a table of real runs."""

from __future__ import annotations

import numpy as np

from mixopt.analysis.critical_share import Critical, critical_of
from mixopt.bench.tables import BenchError, BenchTable, load_table, require_one_of
from mixopt.laws.share_law import share_noise


def critical(
    table: BenchTable | str = "continual",
    *,
    step: int = 10_000,
    old: str = "pile",
    level: float = 0.95,
    seed: int = 0,
) -> Critical:
    """How much old data keeps the old ability after some steps of training.

    The old loss is the table's overall loss, its weights scaled to the validation sets present.
    The run without a mixture is the checkpoint that training continued from. The noise of a run is
    pooled over all lengths of training, each with a law of its own.

    Args:
        table: The table, or its name.
        step: Length of training asked for.
        old: The old source among the table's domains.
        level: Probability of the interval.
        seed: Of the bootstrap.

    Raises:
        BenchError: If the table has no such step, source or base checkpoint.
        SurrogateError: If no share keeps the old loss.
    """
    table = load_table(table) if isinstance(table, str) else table
    require_one_of(old, table.domains, "the old source")
    loss, base = table.overall(), np.isnan(table.X).all(1)
    if base.sum() != 1:
        raise BenchError(
            f"the table must hold one base checkpoint, a run without weights; {table.name!r} has "
            f"{base.sum()}",
            "use the table continual",
        )
    share, rise = table.X[:, table.domains.index(old)], loss - loss[base]
    at = {int(s): (table.steps == s) & ~base for s in np.unique(table.steps[~base])}
    require_one_of(str(step), map(str, at), "the step")
    noise = share_noise([share[rows] for rows in at.values()], [rise[r] for r in at.values()])
    return critical_of(share[at[step]], rise[at[step]], noise=noise, level=level, seed=seed)
