"""The critical old-data share of continual pretraining, from a table of real runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixopt.bench.tables import BenchError, BenchTable, load_table, require_one_of
from mixopt.laws.share_law import CriticalShare, critical_share, share_noise

Array = NDArray[np.float64]


def critical(
    table: BenchTable | str = "continual",
    *,
    step: int = 10_000,
    old: str = "pile",
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """How much old data keeps the old ability, at one length of training and over lengths.

    The old loss is the table's overall loss, its weights scaled to the validation sets present.
    The run without a mixture is the checkpoint that training continued from.

    Args:
        table: The table, or its name.
        step: Length of training asked for.
        old: The old source among the table's domains.
        level: Probability of the intervals.
        seed: Of the bootstrap.

    Returns:
        ``critical_share`` with ``low`` and ``high``, ``base_loss`` and
        the law's ``c, k, b`` (nats/token), the runs' ``shares`` and ``losses``, their
        ``noise_sd``, and ``horizon``: the same share at every length in the table.

    Raises:
        BenchError: If the table has no such step, source or base checkpoint.
        SurrogateError: If no share keeps the old loss.
    """
    table = load_table(table) if isinstance(table, str) else table
    base, column = _columns(table, old)
    require_one_of(str(step), map(str, column), "the step")
    noise = share_noise([v[0] for v in column.values()], [v[1] for v in column.values()])
    found = {
        s: critical_share(*runs, base, noise=noise, level=level, seed=seed)
        for s, runs in column.items()
    }
    answer = found[step]
    return {
        "table": table.name,
        "step": step,
        **_row(answer),
        "level": level,
        "base_loss": base,
        "law": {"c": answer.law.c, "k": answer.law.k, "b": answer.law.b},
        "shares": column[step][0].tolist(),
        "losses": column[step][1].tolist(),
        "noise_sd": noise,
        "horizon": [{"step": s, **_row(one)} for s, one in found.items()],
    }


def _columns(table: BenchTable, old: str) -> tuple[float, dict[int, tuple[Array, Array]]]:
    """The base checkpoint's loss, and per step the old shares and losses of the runs."""
    require_one_of(old, table.domains, "the old source")
    loss, base = table.overall(), np.isnan(table.X).all(1)
    if base.sum() != 1:
        raise BenchError(
            f"the table must hold one base checkpoint, a run without weights; {table.name!r} has "
            f"{base.sum()}",
            "use the table continual",
        )
    share, column = table.X[:, table.domains.index(old)], {}
    for step in sorted({int(s) for s in table.steps[~base]}):
        rows = np.flatnonzero((table.steps == step) & ~base)
        column[step] = (share[rows], loss[rows])
    return float(loss[base][0]), column


def _row(answer: CriticalShare) -> dict[str, float]:
    return {"critical_share": answer.share, "low": answer.low, "high": answer.high}
