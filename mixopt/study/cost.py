"""What the runs of a study really trained, as their trainers counted it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mixopt.space import Frozen, Trainer, Trial
from mixopt.study.state import StudyState

if TYPE_CHECKING:
    from mixopt.propose import Sharing

COST = "cost"


class RunCost(Protocol):
    """What a trainer that shares trunks says of its last run."""

    @property
    def tokens_trained(self) -> int:
        """Trained on in this run."""

    @property
    def tokens_reused(self) -> int:
        """Taken from an earlier run's checkpoint."""


@runtime_checkable
class Counting(Protocol):
    """A trainer that counts what it trains."""

    @property
    def last_run(self) -> RunCost | None:
        """Of the last finished run; None before the first."""


class TrainedTokens(Frozen):
    """Tokens and FLOPs of counted runs, with and without sharing.

    Attributes:
        runs: Runs that were counted.
        scheduled: Tokens of their schedules: what they would train without sharing.
        trained: Tokens they trained.
        flops_scheduled: Of scheduled tokens.
        flops_trained: Of trained tokens.
    """

    runs: int = 0
    scheduled: int = 0
    trained: int = 0
    flops_scheduled: float = 0.0
    flops_trained: float = 0.0

    @property
    def saved(self) -> float:
        """Share of the scheduled FLOPs that sharing saved."""
        return 1 - self.flops_trained / self.flops_scheduled if self.flops_scheduled else 0.0

    def __str__(self) -> str:
        return (
            f"{self.trained:,} tokens trained of {self.scheduled:,} without sharing "
            f"({self.flops_trained:.3g} of {self.flops_scheduled:.3g} FLOPs, "
            f"{self.saved:.1%} saved)"
        )


def trunk_sharing(state: StudyState) -> Sharing:
    """What a study's runs leave for later ones to branch off, as far as its context says.

    A study that does not name its trainer is taken to have one that branches where phases meet.
    """
    from mixopt.propose import Sharing

    trainer = state.config.context.get("trainer")
    if not isinstance(trainer, dict):
        return Sharing()
    if trainer.get("kind") != "proxy":
        return Sharing(possible=False)
    return Sharing(branch_points=tuple(trainer.get("settings", {}).get("branch_points", ())))


def run_cost(trial: Trial, trainer: Trainer) -> dict[str, Any] | None:
    """What a finished run cost, as an event; None where its trainer does not count."""
    if not isinstance(trainer, Counting) or trainer.last_run is None:
        return None
    last = trainer.last_run
    return {"trial": trial.id, "trained": last.tokens_trained, "reused": last.tokens_reused}


def stopped_cost(trial: Trial, trainer: Trainer | None, tokens: int) -> dict[str, Any] | None:
    """The same of a run that was stopped at a rung: at most so many tokens, trunks not counted."""
    if not isinstance(trainer, Counting):
        return None
    return {"trial": trial.id, "trained": tokens, "reused": 0}


def trained_tokens(state: StudyState, since: float = 0.0) -> TrainedTokens:
    """Sum what runs cost that ended after a time (seconds since the epoch)."""
    fidelity = {r.trial.id: r.trial.fidelity for r in state.records}
    size = {name: state.settings.flops(f) / f.tokens for name, f in fidelity.items()}
    found = [e for e in state.events_of(COST) if e["time"] >= since]
    return TrainedTokens(
        runs=len(found),
        scheduled=sum(e["trained"] + e["reused"] for e in found),
        trained=sum(e["trained"] for e in found),
        flops_scheduled=sum(size[e["trial"]] * (e["trained"] + e["reused"]) for e in found),
        flops_trained=sum(size[e["trial"]] * e["trained"] for e in found),
    )
