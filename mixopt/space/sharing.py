"""Shared starts of runs: the share of a schedule left to train once a trunk is there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mixopt.space.mixture import Mixture
from mixopt.space.schedule import Schedule

_CLOSE = 1e-9


def common_prefix(one: Schedule, other: Schedule) -> float:
    """Share of the run up to which two schedules train alike, data and learning rate, 0 to 1.

    A phase with a rule of its own is alike only where it lasts as long in both, unless its rate is
    constant.
    """
    at = 0.0
    for mine, its in zip(one.phases, other.phases, strict=False):
        rule, same_length = mine.learning_rate, abs(mine.fraction - its.fraction) < _CLOSE
        if not _same(mine.mixture, its.mixture) or rule != its.learning_rate:
            break
        if rule is None and one.learning_rate != other.learning_rate:
            break
        if rule is not None and not same_length and not (rule.warmup == rule.decay == 0):
            break
        at += min(mine.fraction, its.fraction)
        if not same_length:
            break
    return min(at, 1.0)


def _same(one: Mixture, other: Mixture) -> bool:
    return all(abs(one.get(n, 0.0) - other.get(n, 0.0)) < _CLOSE for n in {*one, *other})


def checkpoints(schedule: Schedule, branch_points: Sequence[float] = ()) -> list[float]:
    """Shares of a run after which it leaves a checkpoint: where phases meet, and as asked for."""
    at, out = 0.0, [p for p in branch_points if p < 1 - _CLOSE]
    for phase in schedule.phases[:-1]:
        at += phase.fraction
        out.append(at)
    return sorted(out)


def share_to_train(
    schedule: Schedule, known: Iterable[Schedule], branch_points: Sequence[float] = ()
) -> float:
    """Share of a schedule's tokens that must be trained when earlier runs left checkpoints.

    Args:
        schedule: The schedule to be trained.
        known: The schedules of runs of the same size and seed that were trained or will be.
        branch_points: The shares of the run at which every run leaves a checkpoint.

    Returns:
        1 where nothing can be reused; a millionth where all of it was trained already.
    """
    reused = 0.0
    for other in known:
        prefix = common_prefix(schedule, other)
        good = [c for c in checkpoints(other, branch_points) if c <= prefix + _CLOSE]
        reused = max([reused, *good])
    return max(1.0 - reused, 1e-6)
