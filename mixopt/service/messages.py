"""What goes over the wire: the bodies of requests and answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AllowInfNan, BaseModel, ConfigDict, Field

from mixopt.space import Fidelity, Observation, Schedule, Split, Trial
from mixopt.study import Spent, State, Study, StudyConfig, StudySettings, TrialRecord

#: Longest time that a lease may be asked for.
LONGEST_LEASE = 7 * 24 * 3600.0

# PostgreSQL's largest integer.
Tokens = Annotated[int, Field(ge=0, le=2**63 - 1)]
Number = Annotated[float, AllowInfNan(False)]
# Text that every database can hold.
Line = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Seconds = Annotated[float, Field(gt=0, le=LONGEST_LEASE)]


def _plain(values: dict[str, float]) -> dict[str, float]:
    if any(not name or len(name) > 200 or not name.isprintable() for name in values):
        raise ValueError("the name of a metric must have 1 to 200 printable characters")
    return values


Values = Annotated[dict[str, Number], AfterValidator(_plain)]


class Message(BaseModel):
    """A body in which unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StudyInfo(BaseModel):
    """A study and where it stands.

    Attributes:
        name: Of the study.
        created: Seconds since the epoch.
        archived: Seconds since the epoch; null for a study in use.
        config: What its results depend on.
        settings: What may change.
        trials: Number of trials per state.
        spent: What the search has spent.
        stop_reason: Why the search ended; null while it goes on.
        proposing: Whether the next round is being made.
    """

    name: str
    created: float
    archived: float | None
    config: StudyConfig
    settings: StudySettings
    trials: dict[State, int]
    spent: Spent
    stop_reason: str | None
    proposing: bool


def study_info(
    study: Study, created: float, archived: float | None, proposing: bool = False
) -> StudyInfo:
    """A study as it is stored; see ``StudyInfo``."""
    state = study.state()
    return StudyInfo(
        name=study.name,
        created=created,
        archived=archived,
        config=study.config,
        settings=study.settings,
        trials=study.store.counts(study.id),
        spent=state.spent,
        stop_reason=state.stop_reason,
        proposing=proposing,
    )


class SpaceSummary(BaseModel):
    """What a study would be.

    Attributes:
        name: Of the study.
        initial: Trials of the initial design.
        space: A table of its search space: phases, fractions, caps, the baseline's place.
        advice: What is published about such schedules.
    """

    name: str
    initial: int
    space: dict[str, Any]
    advice: list[str]


class StudyRow(BaseModel):
    """A study in a list.

    Attributes:
        name: Of the study.
        created: Seconds since the epoch.
        archived: Seconds since the epoch; null for a study in use.
        trials: Number of trials per state.
    """

    name: str
    created: float
    archived: float | None
    trials: dict[State, int]


class StudyPage(BaseModel):
    """Some studies, oldest first.

    Attributes:
        studies: The studies.
        next: ``after`` of the next page; null where this is the last.
    """

    studies: list[StudyRow]
    next: str | None


class StudyChange(Message):
    """What to change of a study; what is left out stays.

    Attributes:
        archived: Whether it is put away; its trials are then not handed out.
        settings: All of its new settings.
    """

    archived: bool | None = None
    settings: StudySettings | None = None


class TrialPage(BaseModel):
    """Some trials, in the order of proposal.

    Attributes:
        trials: The trials.
        objectives: Objective of each of them that has one, by id.
        next: ``after`` of the next page; null where this is the last.
    """

    trials: list[TrialRecord]
    objectives: dict[str, float]
    next: int | None


class TrialDetail(BaseModel):
    """A trial with its rungs.

    Attributes:
        record: The trial with its state.
        observations: Everything measured on it.
    """

    record: TrialRecord
    observations: list[Observation]


class Ask(Message):
    """A wish for trials.

    Attributes:
        n: At most so many.
        worker: Name of who runs them; shown to others.
        lease_seconds: After which a trial that was not prolonged is free for others.
        key: A name of this wish, so that sending it again gives the same trials.
    """

    n: Annotated[int, Field(ge=1, le=1000)] = 1
    worker: Annotated[str, Field(pattern=r"^[\w.:@/-]{1,150}$")] = "anonymous"
    lease_seconds: Seconds = 600.0
    key: Annotated[str, Field(pattern=r"^[0-9a-zA-Z-]{8,64}$")] | None = None


class Leased(BaseModel):
    """A trial to run, and the right to do so.

    Attributes:
        trial: The run.
        lease: Name of the lease; goes with every later request about the trial.
        expires: Its end, in seconds since the epoch by the server's clock.
    """

    trial: Trial
    lease: str
    expires: float


class Asked(BaseModel):
    """What there is to run.

    Attributes:
        trials: Trials; none where the search is over or one has to wait.
        waiting: What an asker waits for (status 202): ``proposals`` that are being made, or
            ``others`` who run all that is open.
        stop_reason: Why there will be no more; null while the search goes on.
    """

    trials: list[Leased] = []
    waiting: Literal["proposals", "others"] | None = None
    stop_reason: str | None = None


LeaseToken = Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]*$")]


class Beat(Message):
    """A sign of life.

    Attributes:
        lease: Name of the lease.
        lease_seconds: How long from now it lasts.
    """

    lease: LeaseToken
    lease_seconds: Seconds = 600.0


class Beaten(BaseModel):
    """A lease that was prolonged.

    Attributes:
        expires: Its end, in seconds since the epoch by the server's clock.
    """

    expires: float


class Release(Message):
    """A trial that its worker will not run.

    Attributes:
        lease: Name of the lease.
    """

    lease: LeaseToken


class Released(BaseModel):
    """Whether the trial waits again.

    Attributes:
        released: False if the lease was lost before.
    """

    released: bool


class Rung(Message):
    """One number measured on a trial.

    Attributes:
        tokens: Training tokens seen when it was measured.
        metric: Name of the metric.
        value: The number, in nats per token unless the metric is something else.
        split: Held-out documents that it was measured on.
    """

    tokens: Tokens
    metric: Line
    value: Number
    split: Split = Split.validation


class Rungs(Message):
    """Rungs of a trial that goes on.

    Attributes:
        lease: Name of the lease; null for a trial that nobody runs.
        observations: The rungs.
    """

    lease: LeaseToken | None = None
    observations: Annotated[list[Rung], Field(max_length=100_000)]


class Tell(Message):
    """The end of a trial; sending it again does nothing.

    Attributes:
        lease: Name of the lease; null for a trial that nobody runs.
        values: Value per metric at the end.
        tokens: Training tokens seen at the end; null for the whole run.
        observations: Rungs instead of values, or none where all were reported.
    """

    lease: LeaseToken | None = None
    values: Values | None = None
    tokens: Tokens | None = None
    observations: Annotated[list[Rung], Field(max_length=100_000)] = []


class Fail(Message):
    """The failure of a trial; it is not run again unless requeued.

    Attributes:
        lease: Name of the lease; null for a trial that nobody runs.
        reason: Why it failed.
    """

    lease: LeaseToken | None = None
    reason: Annotated[str, Field(max_length=10_000)]


class Run(Message):
    """A finished run from elsewhere.

    Attributes:
        id: Of its trial; attaching the same again does nothing.
        schedule: What it was trained on.
        fidelity: Its size.
        values: Value per metric at its end.
    """

    id: Annotated[str, Field(max_length=100, pattern=r"^[\w.-]+$")]
    schedule: Schedule
    fidelity: Fidelity
    values: Values


class Attach(Message):
    """Finished runs from elsewhere, which the study learns from; all are stored or none.

    Attributes:
        runs: The runs.
    """

    runs: Annotated[list[Run], Field(max_length=10_000)]


class Attached(BaseModel):
    """What was attached.

    Attributes:
        new: Number of runs that were not there yet.
    """

    new: int


class Told(BaseModel):
    """Where a trial stands after a request.

    Attributes:
        state: Of the trial.
    """

    state: State


class Confirmed(BaseModel):
    """Confirmation runs of the recommendation.

    Attributes:
        added: Number of runs that are still to be run; ``ask`` hands them out.
    """

    added: int


class Waiting(BaseModel):
    """An answer that is being computed; ask again after ``Retry-After`` seconds.

    Attributes:
        waiting: What is computed.
    """

    waiting: str


class AdviceRow(BaseModel):
    """What is known about a study's schedules.

    Attributes:
        level: ``warning`` or ``note``.
        phase: Name of the phase.
        message: The sentence.
        source: Publication of the figure.
    """

    level: str
    phase: str
    message: str
    source: str
