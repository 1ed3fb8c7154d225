"""What every trainer is told: whole sequences per phase and domain, offsets, epochs and rates."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import ExportError
from mixopt.export.rate_plan import RatePlan, TrialRate, plan_rates
from mixopt.space import Fidelity, LearningRate, Schedule, SearchSpace, largest_remainder

# An exposure may pass its cap by what rounding the weights can add, and no more.
CAP_SLACK = 0.01

#: Shares ``d`` of a phase and its sequences to sequences ``d``.
Split = Callable[[NDArray[np.float64], int], NDArray[np.int64]]


@dataclass(frozen=True)
class Provenance:
    """Where a schedule comes from; every field may be unknown.

    Attributes:
        study: The study's name.
        space: The search space's name.
        mixopt: The version that wrote the file.
        note: Anything else.
        tokenizer: What the tokens are counted in.
        tokenizer_fingerprint: SHA-256 of the tokenizer.
        corpus_fingerprints: Domain to SHA-256 of its tokens.
    """

    study: str | None = None
    space: str | None = None
    mixopt: str | None = None
    note: str | None = None
    tokenizer: str | None = None
    tokenizer_fingerprint: str | None = None
    corpus_fingerprints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PhasePlan:
    """One phase in whole sequences.

    Attributes:
        index: Its place, from 0.
        name: Its name.
        fraction: The share of the run that the schedule asked for.
        asked: The weights that the schedule asked for, without zeros.
        sequences: Training sequences.
        start: Sequences trained on before it.
        quota: Domain to sequences; domains without any are left out.
        offset: Domain to sequences already drawn from it when the phase starts.
        rate: The learning-rate rule that holds in it; None where the schedule names none.
    """

    index: int
    name: str
    fraction: float
    asked: Mapping[str, float]
    sequences: int
    start: int
    quota: dict[str, int]
    offset: dict[str, int]
    rate: RatePlan | None

    @property
    def end(self) -> int:
        """Sequences trained on when it ends."""
        return self.start + self.sequences

    @property
    def slug(self) -> str:
        """A name for files: ``phase1_base``."""
        plain = "".join(c if c.isalnum() or c in "-_" else "_" for c in self.name)
        return f"phase{self.index + 1}_{plain}"

    def weights(self) -> dict[str, float]:
        """The quotas as shares whose floats sum to exactly 1."""
        return exact_shares(self.quota)


@dataclass(frozen=True)
class ExportPlan:
    """A schedule made ready for a trainer.

    Attributes:
        schedule: What is exported.
        sequence_length: Tokens per sequence; 1 where the trainer counts tokens.
        batch: Sequences per step, where known; phases then last whole steps.
        requested: Tokens asked for; ``tokens`` differs where they were not whole sequences.
        phases: In order; a phase too short for one step is refused, never dropped.
        supply: Domain to tokens available, None where unknown.
        paths: Domain to where its data lies.
        target: The fidelity the schedule was chosen for.
        seed: For the trainer's own shuffling.
        provenance: Where the schedule comes from.
        peak: The target's peak for the schedule's first rule, where it was given.
        of_trials: Numbers of the learning rates that are the trials' and not the target's.
    """

    schedule: Schedule
    sequence_length: int
    batch: int | None
    requested: int
    phases: tuple[PhasePlan, ...]
    supply: Mapping[str, int | None]
    paths: Mapping[str, str]
    target: Fidelity | None = None
    seed: int = 0
    provenance: Provenance = Provenance()
    peak: float | None = None
    of_trials: tuple[TrialRate, ...] = ()

    @property
    def sequences(self) -> int:
        """Training sequences over all phases."""
        return sum(p.sequences for p in self.phases)

    @property
    def tokens(self) -> int:
        """Training tokens over all phases."""
        return self.sequences * self.sequence_length

    @property
    def step(self) -> int:
        """Sequences per step; 1 where the batch is not known."""
        return self.batch or 1

    @property
    def steps(self) -> int:
        """Steps over all phases."""
        return self.sequences // self.step

    @property
    def domains(self) -> tuple[str, ...]:
        """Domains that some phase draws from, in the schedule's order."""
        used = {name for phase in self.phases for name in phase.quota}
        return tuple(name for name in self.schedule.domains if name in used)

    @property
    def missing_paths(self) -> tuple[str, ...]:
        """Domains in use without a path."""
        return tuple(name for name in self.domains if not self.paths.get(name))

    def drawn(self, name: str) -> int:
        """Tokens of one domain over the whole run."""
        return self.sequence_length * sum(p.quota.get(name, 0) for p in self.phases)

    def epochs(self, name: str, tokens: int) -> float | None:
        """Tokens of a domain over the tokens available; None where those are unknown."""
        have = self.supply.get(name)
        return None if have is None else tokens / have

    def with_placeholders(self) -> ExportPlan:
        """The same with ``PATH_OF_<domain>`` for every path that is missing."""
        stand_ins = {name: f"PATH_OF_{name}" for name in self.missing_paths}
        return replace(self, paths={**self.paths, **stand_ins})

    def on_grid(self, steps: int, split: Split = largest_remainder) -> ExportPlan:
        """The same with every later phase moved to the nearest multiple of ``steps``.

        Args:
            steps: What a phase must start at a multiple of.
            split: Shares and sequences of a phase to whole sequences.

        Raises:
            ExportError: If a phase would vanish.
        """
        total = self.steps
        marks = [0]
        for phase in self.schedule.phases[:-1]:
            marks.append(marks[-1] + phase.fraction * total)  # type: ignore[arg-type]
        starts = [round(mark / steps) * steps for mark in marks]
        return replace(self, phases=self._laid([*starts, total], split))

    def _laid(
        self, marks: Sequence[int], split: Split = largest_remainder
    ) -> tuple[PhasePlan, ...]:
        """The phases between marks in steps."""
        unit, what = self.step * self.sequence_length, "a step" if self.batch else "a sequence"
        spans = [(a * self.step, b * self.step) for a, b in itertools.pairwise(marks)]
        rates = plan_rates(self.schedule, spans, self.peak, self.of_trials)
        drawn = dict.fromkeys(self.schedule.domains, 0)
        out = []
        for index, (phase, (start, end)) in enumerate(
            zip(self.schedule.phases, spans, strict=True)
        ):
            if end <= start:
                raise ExportError(
                    f"phase {phase.name!r} must last at least {what if unit > 1 else 'a token'} of "
                    f"{unit:,} tokens; its share of {self.requested:,} tokens is "
                    f"{phase.fraction * self.requested:,.0f}",
                    "export for more tokens, or with a smaller batch",
                )
            weights = {name: phase.mixture.get(name, 0.0) for name in self.schedule.domains}
            asked = {name: weight for name, weight in weights.items() if weight > 0}
            counts = split(np.array(list(asked.values())), end - start)
            quota = {n: int(c) for n, c in zip(asked, counts, strict=True) if c > 0}
            out.append(
                PhasePlan(
                    index,
                    phase.name,
                    phase.fraction,
                    asked,
                    end - start,
                    start,
                    quota,
                    {n: drawn[n] for n in quota},
                    rates[index],
                )
            )
            for name, amount in quota.items():
                drawn[name] += amount
        return tuple(out)


def exact_shares(quota: Mapping[str, int]) -> dict[str, float]:
    """Whole numbers as shares whose exact sum rounds to 1; the largest takes the rounding error."""
    total = sum(quota.values())
    shares = {name: count / total for name, count in quota.items()}
    largest = max(shares, key=lambda name: shares[name])
    rest = sum((Fraction(v) for n, v in shares.items() if n != largest), Fraction(0))
    shares[largest] = float(1 - rest)
    return shares


def plan_export(
    schedule: Schedule,
    space: SearchSpace | None = None,
    *,
    tokens: int | None = None,
    paths: Mapping[str, str] | None = None,
    supply: Mapping[str, int | None] | None = None,
    sequence_length: int | None = None,
    batch: int | None = None,
    target: Fidelity | None = None,
    seed: int = 0,
    provenance: Provenance | None = None,
    learning_rate: LearningRate | float | None = None,
    of_trials: Iterable[TrialRate] = (),
) -> ExportPlan:
    """Turn a schedule into whole sequences per phase and domain.

    Args:
        schedule: What to export.
        space: Gives paths, supplies, epoch caps and the target's tokens where they are not given.
        tokens: Training tokens of the run; the target's by default.
        paths: Domain to path, over those of the space.
        supply: Domain to tokens available, over those of the space.
        sequence_length: Tokens per sequence; None to count tokens.
        batch: Sequences per step; None where unknown.
        target: The fidelity the schedule was chosen for; the space's by default.
        seed: For the trainer's shuffling.
        provenance: Where the schedule comes from.
        learning_rate: The target's own peak, or its rule over the run instead of the schedule's;
            phases with rules of their own keep their ratio to its peak.
        of_trials: Numbers of the schedule's learning rates that are the trials' own; where
            ``learning_rate`` does not name them, a placeholder is written.

    Raises:
        ExportError: If there are no tokens, a phase is shorter than one step, a quota breaks an
            epoch cap of the space, or a name is unknown.
    """
    places, available = _known(schedule, space, paths, supply)
    requested = _tokens(tokens, space)
    length = _at_least_one(sequence_length, "sequence_length") or 1
    step = _at_least_one(batch, "batch") or 1
    peak, rated, hidden = _rated(schedule, learning_rate, tuple(of_trials))
    plan = ExportPlan(
        schedule=rated,
        sequence_length=length,
        batch=batch,
        requested=requested,
        phases=(),
        supply=available,
        paths=places,
        target=target or (space.target if space else None),
        seed=seed,
        provenance=provenance or Provenance(space=space.name if space else None),
        peak=peak,
        of_trials=hidden,
    )
    steps = round(requested / (length * step))
    units = schedule.phase_units(steps) if steps else [0] * len(schedule.phases)
    plan = replace(plan, phases=plan._laid([0, *np.cumsum(units).tolist()]))
    if space is not None:
        _hold_caps(plan, space)
    return plan


def _rated(
    schedule: Schedule, given: LearningRate | float | None, of_trials: tuple[TrialRate, ...]
) -> tuple[float | None, Schedule, tuple[TrialRate, ...]]:
    """The target's peak, the schedule under its rule, and what is still only the trials'."""
    if given is None:
        return None, schedule, of_trials
    if not isinstance(given, LearningRate):
        return given, schedule, tuple(name for name in of_trials if name != "peak")
    rules = [schedule.learning_rate, *(p.learning_rate for p in schedule.phases)]
    # Peaks are scaled by their ratio to the first one, so that one stays what it was.
    first = next((r.peak for r in rules if r is not None and r.peak is not None), given.peak)
    rule = given.model_copy(update={"peak": first})
    return given.peak, schedule.model_copy(update={"learning_rate": rule}), ()


def _known(
    schedule: Schedule,
    space: SearchSpace | None,
    paths: Mapping[str, str] | None,
    supply: Mapping[str, int | None] | None,
) -> tuple[dict[str, str], dict[str, int | None]]:
    """Paths and supplies by domain: those given, over those of the space."""
    for what, given in (("paths", paths), ("supply", supply)):
        _refuse_unknown(given, what, space.names if space else schedule.domains)
    known = {d.name: d.path for d in space.domains if d.path} if space else {}
    have = {**(space.supply if space else {}), **(supply or {})}
    return {**known, **(paths or {})}, {name: have.get(name) for name in schedule.domains}


def _refuse_unknown(given: Mapping[str, object] | None, what: str, known: Sequence[str]) -> None:
    unknown = sorted(set(given or ()) - set(known))
    if unknown:
        raise ExportError(
            f"{what} names the unknown domains {unknown}", f"the schedule has {list(known)}"
        )


def _tokens(tokens: int | None, space: SearchSpace | None) -> int:
    if tokens is None and space is not None and space.target is not None:
        return space.target.tokens
    if tokens is None or tokens < 1:
        raise ExportError(
            f"an export needs the run's training tokens, at least 1; got {tokens}",
            "give tokens, or a search space whose target names them",
        )
    return tokens


def _at_least_one(value: int | None, name: str) -> int | None:
    if value is not None and value < 1:
        raise ExportError(f"{name} must be at least 1; got {value}", "leave it out if unknown")
    return value


def _hold_caps(plan: ExportPlan, space: SearchSpace) -> None:
    for domain in space.domains:
        cap = domain.max_epochs if domain.max_epochs is not None else space.max_epochs
        have = plan.supply.get(domain.name)
        if cap is None or have is None:
            continue
        drawn = plan.drawn(domain.name)
        if drawn > cap * have * (1 + CAP_SLACK) + len(plan.phases) * plan.sequence_length:
            raise ExportError(
                f"a run of {plan.tokens:,} tokens would read {domain.name!r} {drawn / have:.3g} "
                f"times; its cap is {cap:g} epochs",
                "export for fewer tokens, raise the cap, or recommend again for this run",
            )
