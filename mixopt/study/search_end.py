"""Whether a search is over: its budget, its failures, or trials that no longer pay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mixopt.errors import StudyError
from mixopt.study.config import derived_seed
from mixopt.study.state import StudyState
from mixopt.study.storage import State, TrialRecord

if TYPE_CHECKING:
    from mixopt.propose import Evidence
    from mixopt.surrogate import SurrogateModel

#: Makes, or has kept, the decision on whether more trials pay.
Decision = Callable[[], Mapping[str, Any]]

#: Failures after which a search without a single finished trial is given up.
FIRST_FAILURES = 3


def spent_reason(state: StudyState) -> str | None:
    """Why the budget or the failures end the search; None where they do not."""
    budget = state.settings.budget
    cost = state.device_time.cost(state.config.cheapest)
    reason = budget.exhausted(state.spent, cost) if budget else None
    return reason or _failure_reason(state)


def _failure_reason(state: StudyState) -> str | None:
    failed = failures_in_a_row(state)
    most = state.settings.most_failures
    if len(failed) < most:
        return None
    first = failed[0]
    return (
        f"the last {len(failed)} trials failed, and {most} in a row are the most allowed; the "
        f"first of them, {first.trial.id}: {first.reason}"
    )


def failures_in_a_row(state: StudyState) -> list[TrialRecord]:
    """The failed trials of the search since the last one that did not fail, oldest first."""
    over = [r for r in state.search if not r.open]
    over.sort(key=lambda r: r.ended or 0.0)
    row: list[TrialRecord] = []
    for record in over:
        row = [*row, record] if record.state == State.failed else []
    return row


def require_progress(state: StudyState) -> None:
    """Stop a study whose every trial fails or ends early: the next ones would too.

    Raises:
        StudyError: If some trials of the search did and none has finished yet.
    """
    _require_ends(state)
    failed = failures_in_a_row(state)
    over = [r for r in state.search if not r.open]
    if state.learned_from or len(failed) < len(over) or len(failed) < FIRST_FAILURES:
        return
    raise StudyError(
        f"the first {len(failed)} trials failed and none has finished; the first, "
        f"{failed[0].trial.id}: {failed[0].reason}",
        "mend the trainer, then let them run again: mixopt run --retry-failed, or study.requeue()",
    )


def _require_ends(state: StudyState) -> None:
    over = [r for r in state.search if not r.open]
    early = [r.trial for r in over if r.state == State.ended_early]
    if state.learned_from or len(early) < len(over) or len(early) < FIRST_FAILURES:
        return
    raise StudyError(
        f"the first {len(early)} trials, {early[0].id} among them, all ended before their "
        f"{early[0].fidelity.tokens:,} tokens, and a loss below a trial's tokens is not its final "
        "loss",
        "give the study the fidelity that the trainer trains, or report the last rung's `tokens` "
        "as they are",
    )


def decide(state: StudyState, evidence: Evidence, surrogate: SurrogateModel) -> dict[str, Any]:
    """Whether more trials pay, as the event that keeps the decision."""
    from mixopt.propose import should_stop

    finished = len(state.learned_from)
    seed = derived_seed(state.seed, "stop", str(finished))
    decision = should_stop(state.space, state.objective, surrogate, evidence, seed=seed)
    return {"trials": finished, **decision.model_dump(mode="json")}


def no_gain(state: StudyState, decision: Mapping[str, Any]) -> str | None:
    """Why more trials no longer pay; None while they do.

    Args:
        state: Has the earlier decisions.
        decision: On the trials finished so far.
    """
    earlier = [d for d in state.decisions if d["trials"] != decision["trials"]]
    last = [*earlier, decision][-state.settings.patience :]
    if len(last) < state.settings.patience or not all(d["stop"] for d in last):
        return None
    return str(decision["reason"])


def why_stop(state: StudyState, decision: Decision) -> str | None:
    """Why the search is over; None where it goes on, and while trials of a round are open.

    Args:
        state: Of the study.
        decision: Gives the decision on the trials finished so far; called where it is needed.
    """
    if state.open_search or not state.search:
        return None
    reason = spent_reason(state)
    if reason is None and len(state.learned_from) > 1:
        reason = no_gain(state, decision())
    return reason


def rolled_out(state: StudyState, decision: Decision) -> bool:
    """Whether the search has come to its end, though trials run; see ``why_stop``."""
    if spent_reason(state) is not None:
        return True
    last = state.decisions[-1]["trials"] if state.decisions else 0
    due = len(state.learned_from) - last >= state.settings.round_size
    return due and no_gain(state, decision()) is not None
