"""What a study ends with: a schedule, and every number one needs to believe it."""

from __future__ import annotations

from pydantic import ConfigDict

from mixopt.space import Fidelity, Frozen, Schedule
from mixopt.surrogate.protocol import SurrogateRow

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
    """Predicted objectives minus the baseline's, from the same posterior draws.

    Attributes:
        predicted: Difference of the recommendation (nats/token); negative is better.
        corrected: The same difference with the winner's curse removed.
        natural: Difference of the natural mixture, where it is known and allowed.
        uniform: Difference of the uniform mixture.
    """

    predicted: Estimate
    corrected: Estimate
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
        limit: Highest value allowed; where relative, the baseline's predicted value plus slack.
        predicted: At the recommendation.
        probability: That it holds.
        confidence: That was asked for.
    """

    metric: str
    limit: float
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
        values: Objective per seed.
        mean: Of the values.
        se: Standard error of the mean.
    """

    label: str
    schedule: Schedule
    values: tuple[float, ...]
    mean: float
    se: float


class Recommendation(Frozen):
    """The schedule to train with, beside what it is to be compared with.

    Attributes:
        schedule: Base mixture, upsample fraction and last-phase mixture.
        predicted: Its objective as the surrogate has it.
        corrected: The same with the winner's curse removed.
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
        prior_strength: Weight of the KL divergence to the baseline that was used (nats/token).
        confirmations: Fresh runs, filled in by the study.
        target: The fidelity that all predictions speak of, where trials differ in theirs.
        agreement: Rank agreement between the fidelities.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    schedule: Schedule
    predicted: Estimate
    corrected: Estimate
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
    prior_strength: float = 0.0
    confirmations: tuple[Confirmation, ...] = ()
    target: Fidelity | None = None
    agreement: tuple[RankAgreement, ...] = ()
