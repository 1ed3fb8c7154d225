"""In which order trials run, so that endings find the trunk that another has trained."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mixopt.space import Mixture, Trial

Trunk = tuple[int, Mixture, str]


def trunk_of(trial: Trial) -> Trunk:
    """What trials must share for one to branch off the other."""
    return trial.seed, trial.schedule.base, trial.split.value


def trunks_first(trials: Sequence[Trial]) -> list[Trial]:
    """One trial of every trunk before the others, which then branch from its checkpoints.

    It is the one that leaves its trunk first: its checkpoint serves all the others. They follow in
    that order too, as each leaves a later checkpoint behind.
    """
    order = sorted(trials, key=lambda t: t.schedule.phases[0].fraction)
    leaders = {trunk_of(t): t.id for t in reversed(order)}.values()
    return [t for t in trials if t.id in leaders] + [t for t in order if t.id not in leaders]


def runnable(
    trials: Sequence[Trial], running: Collection[Trial], trained: Collection[Trunk]
) -> list[Trial]:
    """The trials that need not wait for a trunk that a running trial trains.

    A trial that starts while another trains its trunk has to train it too.

    Args:
        trials: To be run, in their order.
        running: Trials that run now.
        trained: Trunks that earlier trials left.
    """
    busy = {trunk_of(t) for t in running} - set(trained)
    return [t for t in trials if trunk_of(t) not in busy]
