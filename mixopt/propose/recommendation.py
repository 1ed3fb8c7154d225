"""What a study ends with: a schedule, and every number one needs to believe it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import ConfigDict

from mixopt.space import Fidelity, Frozen, Schedule
from mixopt.space.display import as_html
from mixopt.space.effect import Effect
from mixopt.space.metric import Goal
from mixopt.surrogate.protocol import SurrogateRow

if TYPE_CHECKING:
    import pandas as pd

Z95 = 1.959963984540054


class Estimate(Frozen):
    """A predicted number with its 95 % interval.

    Attributes:
        mean: Expected value (nats/token).
        sd: Standard deviation.
        low: Lower end of the interval.
        high: Upper end.
    """

    mean: float
    sd: float
    low: float
    high: float

    @classmethod
    def of(cls, mean: float, sd: float) -> Estimate:
        """A Gaussian's."""
        return cls(
            mean=float(mean),
            sd=float(sd),
            low=float(mean - Z95 * sd),
            high=float(mean + Z95 * sd),
        )


class Differences(Frozen):
    """Predicted objectives minus the baseline's, under their joint posterior.

    Attributes:
        predicted: Difference of the recommendation, in the objective's direction.
        natural: Difference of the natural mixture, where it is known and allowed.
        uniform: Difference of the uniform mixture.
    """

    predicted: Estimate
    natural: Estimate | None = None
    uniform: Estimate | None = None


class Observed(Frozen):
    """A finished trial.

    Attributes:
        trial: Its id.
        value: Its objective as measured, noise included.
        schedule: What it was trained on.
        fidelity: Where trials differ in it.
    """

    trial: str
    value: float
    schedule: Schedule
    fidelity: Fidelity | None = None


class RankAgreement(Frozen):
    """How far the ranking of schedules at one fidelity holds at another.

    Attributes:
        low: The cheaper fidelity.
        high: The fidelity of more FLOPs.
        mixtures: Schedules run at both.
        spearman: Rank correlation over them, mean over metrics.
    """

    low: Fidelity
    high: Fidelity
    mixtures: int
    spearman: float


class TradeOffPoint(Frozen):
    """The best schedule with one length of the last phase.

    Attributes:
        upsample_fraction: Share of the tokens in the last phase; 0 for a static schedule.
        schedule: The best found.
        objective: Its predicted objective.
        metrics: Its predicted metrics.
    """

    upsample_fraction: float
    schedule: Schedule
    objective: Estimate
    metrics: dict[str, Estimate]


class GuardrailCheck(Frozen):
    """Whether a guardrail holds at the recommendation.

    Attributes:
        metric: Guarded.
        limit: Value it must not be worse than; where relative, the baseline's predicted one and
            the slack.
        at_least: Whether the limit is the lowest value allowed, else it is the highest.
        predicted: At the recommendation.
        probability: That it holds.
        confidence: That was asked for.
    """

    metric: str
    limit: float
    at_least: bool = False
    predicted: Estimate
    probability: float
    confidence: float

    @property
    def holds(self) -> bool:
        """Whether it holds with the confidence asked for, up to the rounding of the draws."""
        return self.probability >= self.confidence - 0.02


class Confirmation(Frozen):
    """Fresh runs of one schedule on documents that the search never saw.

    Attributes:
        label: ``recommendation``, ``baseline``, ``uniform``, ``static``.
        schedule: What was trained on.
        values: Objective per seed, on the documents that the search never saw.
        search_values: Objective per seed on the search's own documents, where it was measured.
        mean: Of the values (nats/token).
        low: Lower end of the 95 % interval of the mean, by Student's t; None for a single seed.
        high: Upper end of it.
        effect: Difference from the baseline, paired by seed; None for the baseline itself, or
            where fewer than two seeds finished on both sides.
    """

    label: str
    schedule: Schedule
    values: dict[int, float]
    search_values: dict[int, float] = {}
    mean: float
    low: float | None = None
    high: float | None = None
    effect: Effect | None = None

    @classmethod
    def of(
        cls,
        label: str,
        schedule: Schedule,
        values: Mapping[int, float],
        search_values: Mapping[int, float],
        baseline: Mapping[int, float],
    ) -> Confirmation:
        """Summarise the runs of one schedule; ``baseline`` has the baseline's values by seed."""
        own = Effect.of(list(values.values())) if len(values) > 1 else None
        pairs = label != "baseline" and len(values.keys() & baseline.keys()) > 1
        return cls(
            label=label,
            schedule=schedule,
            values=dict(values),
            search_values=dict(search_values),
            mean=sum(values.values()) / len(values),
            low=own.low if own else None,
            high=own.high if own else None,
            effect=Effect.paired(values, baseline) if pairs else None,
        )


class Recommendation(Frozen):
    """The schedule to train with, beside what it is to be compared with.

    Attributes:
        schedule: Base mixture, upsample fraction and last-phase mixture.
        predicted: Its objective as the surrogate has it.
        best_observed: The best finished trial.
        baseline: The baseline's predicted objective.
        differences: The predicted objectives minus the baseline's.
        noise_sd: Standard deviation of one run's objective (run-to-run noise, nats/token).
        baseline_observed: Mean objective of the finished trials of the baseline, if any.
        baseline_runs: Number of those trials.
        natural: Predicted objective of the natural mixture, where it is known and allowed.
        uniform: Predicted objective of the uniform mixture.
        metrics: Predicted metrics.
        baseline_metrics: The baseline's.
        upsampling_ratio: Per domain, weight in the last phase over weight in the first.
        epochs: Per domain of known supply, at the target.
        static_control: One phase with the same total tokens per domain.
        trade_off: The best schedule per length of the last phase.
        guardrails: Whether they hold.
        notes: What to know before using it, in sentences.
        surrogate: Rows of the surrogate's report.
        confirmations: Fresh runs, filled in by the study.
        target: The fidelity that all predictions speak of, where trials differ in theirs.
        agreement: Rank agreement between the fidelities.
        goal: Which way the objective is better.
        unit: Of the objective, '' where it has none.
        word: Name of the objective's value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    schedule: Schedule
    predicted: Estimate
    best_observed: Observed
    baseline: Estimate
    differences: Differences
    noise_sd: float
    baseline_observed: float | None = None
    baseline_runs: int = 0
    natural: Estimate | None = None
    uniform: Estimate | None = None
    metrics: dict[str, Estimate]
    baseline_metrics: dict[str, Estimate]
    upsampling_ratio: dict[str, float]
    epochs: dict[str, float]
    static_control: Schedule
    trade_off: tuple[TradeOffPoint, ...]
    guardrails: tuple[GuardrailCheck, ...] = ()
    notes: tuple[str, ...] = ()
    surrogate: tuple[SurrogateRow, ...] = ()
    confirmations: tuple[Confirmation, ...] = ()
    target: Fidelity | None = None
    agreement: tuple[RankAgreement, ...] = ()
    goal: Goal = "minimize"
    unit: str = "nats/token"
    word: str = "loss"

    def _repr_html_(self) -> str:
        return as_html(self)

    def to_frame(self) -> pd.DataFrame:
        """One row per domain: the weight in each phase, the exposure, and epochs at the target."""
        import pandas as pd

        weights = {phase.name: dict(phase.mixture) for phase in self.schedule.phases}
        columns = {**weights, "exposure": dict(self.schedule.exposure()), "epochs": self.epochs}
        return pd.DataFrame(columns, index=list(self.schedule.exposure()))

    @property
    def confirmed_difference(self) -> Effect | None:
        """Objective minus the baseline's over fresh seeds; None without two of both."""
        mine = [c for c in self.confirmations if c.label == "recommendation"]
        return mine[0].effect if mine else None

    @property
    def better_than_baseline(self) -> bool:
        """Whether the objective is better than the baseline's: confirmed, or else predicted.

        False where the interval of the difference reaches 0.
        """
        found = self.confirmed_difference or self.differences.predicted
        return found.high < 0 if self.goal == "minimize" else found.low > 0

    @property
    def verdict(self) -> str:
        """One sentence: whether it is better than the baseline, and by how much."""
        confirmed = self.confirmed_difference
        predicted = self.differences.predicted
        found = confirmed or predicted
        if confirmed is None and predicted.mean == predicted.sd == 0:
            return "The recommendation is the baseline itself."
        how = "predicted"
        if confirmed is not None:
            how = f"confirmed over {confirmed.seeds} fresh seeds on text the search never saw"
        unit = self.unit or self.word
        gap = f"{found.mean:+.4f} {unit} ({found.low:+.4f} to {found.high:+.4f}), {how}"
        if self.better_than_baseline:
            return f"The recommendation is better than the baseline: {gap}."
        if not found.low <= 0 <= found.high:
            return f"The recommendation is worse than the baseline: {gap}. Keep the baseline."
        return f"The recommendation is not shown to be better than the baseline: {gap}."

    @property
    def order_verdict(self) -> str | None:
        """One sentence: whether the order of the data pays.

        None without two confirmation seeds of the schedule and of one phase with the same tokens.
        """
        runs = {c.label: c.values for c in self.confirmations}
        one, other = runs.get("recommendation", {}), runs.get("static", {})
        if len(one.keys() & other.keys()) < 2:
            return None
        found = Effect.paired(one, other)
        unit = self.unit or self.word
        gap = f"{found.mean:+.4f} {unit} ({found.low:+.4f} to {found.high:+.4f}) over "
        gap += f"{found.seeds} fresh seeds"
        if found.clear and (found.low > 0) == (self.goal == "minimize"):
            return (
                "The order of the data costs: one mixture with the same tokens of every domain is "
                f"better than the schedule, whose difference from it is {gap}. Train on that "
                "mixture."
            )
        pays = "pays" if found.clear else "is not shown to pay at this size"
        return (
            f"The order of the data {pays}: the schedule against one mixture with the same tokens "
            f"of every domain: {gap}."
        )
