"""What every trainer is told: whole sequences per phase and domain, offsets and epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from mixopt.errors import ExportError
from mixopt.space import Fidelity, LearningRate, Schedule, SearchSpace, largest_remainder

# An exposure may pass its cap by what rounding the weights can add, and no more.
CAP_SLACK = 0.01


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
        fraction: The share the schedule asked for.
        sequences: Training sequences.
        start: Sequences trained on before it.
        quota: Domain to sequences; domains without weight are left out.
        offset: Domain to sequences already drawn from it when the phase starts.
        learning_rate: The rule over this phase alone; None where it follows the run's.
    """

    index: int
    name: str
    fraction: float
    sequences: int
    start: int
    quota: dict[str, int]
    offset: dict[str, int]
    learning_rate: LearningRate | None

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

    @property
    def sequences(self) -> int:
        """Training sequences over all phases."""
        return sum(p.sequences for p in self.phases)

    @property
    def tokens(self) -> int:
        """Training tokens over all phases."""
        return self.sequences * self.sequence_length

    @property
    def domains(self) -> tuple[str, ...]:
        """Domains that some phase draws from, in the schedule's order."""
        used = {name for phase in self.phases for name in phase.quota}
        return tuple(name for name in self.schedule.domains if name in used)

    def drawn(self, name: str) -> int:
        """Tokens of one domain over the whole run."""
        return self.sequence_length * sum(p.quota.get(name, 0) for p in self.phases)

    def epochs(self, name: str, tokens: int) -> float | None:
        """Tokens of a domain over the tokens available; None where those are unknown."""
        have = self.supply.get(name)
        return None if have is None else tokens / have

    def need_paths(self, trainer: str) -> dict[str, str]:
        """The path of every domain in use.

        Raises:
            ExportError: If one has none.
        """
        missing = [name for name in self.domains if not self.paths.get(name)]
        if missing:
            raise ExportError(
                f"the {trainer} export needs the path of every domain in use; {missing} have none",
                "add `path:` to these domains in the search space, or give paths={'domain': ...}",
            )
        return {name: self.paths[name] for name in self.domains}

    def need_sequences(self, trainer: str) -> int:
        """The sequence length.

        Raises:
            ExportError: If it was not given.
        """
        if self.sequence_length == 1:
            raise ExportError(
                f"the {trainer} export counts sequences and needs their length; none was given",
                "give sequence_length, the trainer's context in tokens",
            )
        return self.sequence_length

    def need_batch(self, trainer: str) -> int:
        """Sequences per step.

        Raises:
            ExportError: If they were not given.
        """
        if self.batch is None:
            raise ExportError(
                f"the {trainer} export counts steps and needs the batch; none was given",
                "give batch, the sequences per step",
            )
        return self.batch


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

    Raises:
        ExportError: If there are no tokens, a phase is shorter than one step, a quota breaks an
            epoch cap of the space, or a name is unknown.
    """
    names = schedule.domains
    known_paths = {d.name: d.path for d in space.domains if d.path} if space else {}
    merged_paths = {**known_paths, **(paths or {})}
    merged_supply = {**(space.supply if space else {}), **(supply or {})}
    if space is not None:
        _refuse_unknown(space, paths, "paths")
        _refuse_unknown(space, supply, "supply")
    requested = _tokens(tokens, space)
    length = _at_least_one(sequence_length, "sequence_length") or 1
    step = _at_least_one(batch, "batch") or 1
    plan = ExportPlan(
        schedule=schedule,
        sequence_length=length,
        batch=batch,
        requested=requested,
        phases=_phases(schedule, requested, length, step),
        supply={name: merged_supply.get(name) for name in names},
        paths=merged_paths,
        target=target or (space.target if space else None),
        seed=seed,
        provenance=provenance or Provenance(space=space.name if space else None),
    )
    if space is not None:
        _hold_caps(plan, space)
    return plan


def _refuse_unknown(space: SearchSpace, given: Mapping[str, object] | None, what: str) -> None:
    unknown = sorted(set(given or ()) - set(space.names))
    if unknown:
        raise ExportError(
            f"{what} names the unknown domains {unknown}", f"the space has {list(space.names)}"
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


def _phases(schedule: Schedule, tokens: int, length: int, step: int) -> tuple[PhasePlan, ...]:
    steps = round(tokens / (length * step))
    unit = "a step" if step > 1 else "a sequence" if length > 1 else "a token"
    out: list[PhasePlan] = []
    drawn = dict.fromkeys(schedule.domains, 0)
    counts = schedule.phase_units(steps) if steps else [0] * len(schedule.phases)
    for index, (phase, count) in enumerate(zip(schedule.phases, counts, strict=True)):
        if count == 0:
            raise ExportError(
                f"phase {phase.name!r} must last at least {unit} of {length * step:,} tokens; its "
                f"share of {tokens:,} tokens is {phase.fraction * tokens:,.0f}",
                "export for more tokens, or with a smaller batch",
            )
        split = largest_remainder(np.array(list(phase.mixture.values())), count * step)
        quota = {n: int(c) for n, c in zip(phase.mixture, split, strict=True) if c > 0}
        offset = {n: drawn[n] for n in quota}
        start = sum(p.sequences for p in out)
        rule = phase.learning_rate
        out.append(
            PhasePlan(index, phase.name, phase.fraction, count * step, start, quota, offset, rule)
        )
        for name, amount in quota.items():
            drawn[name] += amount
    return tuple(out)


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
