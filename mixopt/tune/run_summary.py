"""What a run did and where its wall time went."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mixopt.study import State
from mixopt.study.cost import TrainedTokens, trained_tokens

if TYPE_CHECKING:
    from mixopt.propose import Recommendation
    from mixopt.study.state import StudyState


@dataclass(frozen=True)
class RunSummary:
    """What a run did and where its wall time went.

    Attributes:
        recommendation: The schedule to train with, and its confirmation runs.
        stop_reason: The reason why the search stopped.
        trials: Number of trials run to their end by this call, confirmation runs included.
        failed: Number of those that failed.
        slots: Number of trials at a time.
        wall_seconds: Time from call to return.
        trial_seconds: Sum over trials.
        outside_seconds: Wall time in which no trial was running.
        parts: Wall seconds per part: ``ray`` (start and stop), ``rounds`` (Tune, trials included),
            ``proposals`` (designs, fits, stopping rule and recommendation).
        cost: Tokens and FLOPs really trained against those without shared trunks; of no runs
            where the trainer does not count.
    """

    recommendation: Recommendation
    stop_reason: str | None
    trials: int
    failed: int
    slots: int
    wall_seconds: float
    trial_seconds: float
    outside_seconds: float
    parts: Mapping[str, float]
    cost: TrainedTokens

    @property
    def outside_share(self) -> float:
        """Share of the wall time in which no trial was running."""
        return self.outside_seconds / self.wall_seconds

    @property
    def idle_share(self) -> float:
        """Share of the slots' time not spent in trials; counts half-empty ends of rounds too."""
        return 1 - self.trial_seconds / (self.slots * self.wall_seconds)

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.parts.items())
        return (
            f"{self.trials} trials ({self.failed} failed) on {self.slots} slots in "
            f"{self.wall_seconds:.1f} s; {self.outside_share:.1%} outside trials, "
            f"{self.idle_share:.1%} of the slots idle ({parts})"
            + (f"; {self.cost}" if self.cost.runs else "")
        )


@dataclass
class Clock:
    """Wall seconds per part.

    Attributes:
        began: Start of the run, in seconds since the epoch.
        parts: Seconds per part.
    """

    began: float
    parts: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time of a block, without that of parts counted inside it."""
        start, inside = time.perf_counter(), sum(self.parts.values())
        try:
            yield
        finally:
            spent = time.perf_counter() - start - (sum(self.parts.values()) - inside)
            self.parts[name] = self.parts.get(name, 0.0) + spent

    @contextmanager
    def around(self, session: AbstractContextManager[object], name: str) -> Iterator[None]:
        """Use a session, whose start and end are counted as a part and what is inside is not."""
        with self.part(name):
            session.__enter__()
        try:
            yield
        finally:
            with self.part(name):
                session.__exit__(None, None, None)


def summarise(
    state: StudyState,
    recommendation: Recommendation,
    clock: Clock,
    spans: Mapping[str, tuple[float, float]],
    slots: int,
) -> RunSummary:
    """Sum up a run.

    Args:
        state: The study after it.
        recommendation: Its result.
        clock: Its begin and parts.
        spans: Start and end of each trial that it ran to its end.
        slots: Trials at a time.
    """
    wall = time.time() - clock.began
    failed = [r.trial.id for r in state.records if r.state == State.failed]
    return RunSummary(
        recommendation=recommendation,
        stop_reason=state.stop_reason,
        trials=len(spans),
        failed=sum(name in spans for name in failed),
        slots=slots,
        wall_seconds=wall,
        trial_seconds=sum(end - start for start, end in spans.values()),
        outside_seconds=wall - covered(list(spans.values())),
        parts=clock.parts,
        cost=trained_tokens(state, since=clock.began),
    )


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """Length of the union of intervals."""
    total, reach = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(end - max(start, reach), 0.0)
        reach = max(reach, end)
    return total
