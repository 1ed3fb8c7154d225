"""``schedule.json``: mixopt's own format, versioned, with a published JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from mixopt.errors import ExportError, MixoptError
from mixopt.export.export_plan import ExportPlan, Provenance
from mixopt.export.export_report import phase_rows
from mixopt.export.exporter import Exporter, Written
from mixopt.export.rate_plan import TrialRate
from mixopt.export.texts import json_text
from mixopt.space import Fidelity, Frozen, LearningRate, Mixture, Phase, Schedule
from mixopt.space.complaints import shown

FORMAT: Final = "mixopt-schedule"
VERSION: Final = 1

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Epochs = Annotated[float, Field(ge=0)] | None


class PhaseDomain(Frozen):
    """What one phase draws from one domain.

    Attributes:
        tokens: Tokens drawn.
        start_offset: Tokens drawn from the domain before the phase starts.
        epochs: ``tokens`` over the tokens available; null where those are unknown.
        epochs_at_end: The same for everything drawn until the phase ends.
    """

    tokens: Count
    start_offset: Count
    epochs: Epochs
    epochs_at_end: Epochs


class PhaseEntry(Frozen):
    """One phase.

    Attributes:
        name: Its name.
        fraction: Its share of the run's tokens.
        mixture: Domain to share of the phase's tokens; sums to 1.
        tokens: Training tokens.
        start: Training tokens before it.
        domains: What it draws from each domain with weight.
        learning_rate: Its own rule; null to follow the run's.
    """

    name: str
    fraction: Annotated[float, Field(gt=0, le=1)]
    mixture: dict[str, Share]
    tokens: Annotated[int, Field(gt=0)]
    start: Count
    domains: dict[str, PhaseDomain]
    learning_rate: LearningRate | None = None


class DomainEntry(Frozen):
    """One domain over the whole run.

    Attributes:
        tokens: Tokens drawn.
        available: Tokens there are; null where unknown.
        epochs: ``tokens`` over ``available``.
        path: Where the data lies; null where not given.
        fingerprint: SHA-256 of the domain's tokens; null where unknown.
    """

    tokens: Count
    available: Annotated[int, Field(gt=0)] | None
    epochs: Epochs
    path: str | None = None
    fingerprint: str | None = None


class ProvenanceEntry(Frozen):
    """Where the schedule comes from; every field may be null."""

    study: str | None = None
    space: str | None = None
    mixopt: str | None = None
    note: str | None = None
    tokenizer: str | None = None
    tokenizer_fingerprint: str | None = None


class ScheduleFile(Frozen):
    """The whole file.

    Attributes:
        format: Always ``mixopt-schedule``.
        version: Of the format; a reader refuses a later one.
        tokens: Training tokens of the run, in whole sequences.
        tokens_requested: Training tokens asked for.
        sequence_length: Tokens per sequence; 1 where quotas are counted in tokens.
        target: The fidelity the schedule was chosen for.
        upsample_fraction: Share of the tokens in the last phase; 0 with one phase.
        upsampling_ratio: Per domain, last-phase weight over base weight; null where only the last
            phase has it.
        exposure: Per domain, its share of all tokens of the run.
        learning_rate: The rule over the whole run.
        of_trials: Numbers of the learning rates that are the trials' own and not the target's.
        phases: In order.
        domains: Totals per domain.
        provenance: Where it comes from.
    """

    format: Literal["mixopt-schedule"] = FORMAT
    version: Literal[1] = VERSION
    tokens: Annotated[int, Field(gt=0)]
    tokens_requested: Annotated[int, Field(gt=0)]
    sequence_length: Annotated[int, Field(gt=0)] = 1
    target: Fidelity | None = None
    upsample_fraction: Share
    upsampling_ratio: dict[str, Annotated[float, Field(ge=0)] | None]
    exposure: dict[str, Share]
    learning_rate: LearningRate | None = None
    of_trials: tuple[TrialRate, ...] = ()
    phases: Annotated[tuple[PhaseEntry, ...], Field(min_length=1)]
    domains: dict[str, DomainEntry]
    provenance: ProvenanceEntry = ProvenanceEntry()

    def schedule(self) -> Schedule:
        """The schedule the file holds.

        Raises:
            SpaceError: If its weights or fractions do not sum to 1.
        """
        phases = tuple(
            Phase(
                name=p.name,
                fraction=p.fraction,
                mixture=Mixture(p.mixture, f"phase {p.name!r}"),
                learning_rate=p.learning_rate,
            )
            for p in self.phases
        )
        return Schedule(phases=phases, learning_rate=self.learning_rate)

    def as_provenance(self) -> Provenance:
        """Where the schedule comes from, fingerprints included."""
        prints = {n: d.fingerprint for n, d in self.domains.items() if d.fingerprint}
        return Provenance(**self.provenance.model_dump(), corpus_fingerprints=prints)


def schedule_json_schema() -> dict[str, Any]:
    """The JSON Schema of ``schedule.json`` (draft 2020-12)."""
    schema = ScheduleFile.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schedule_schema_path() -> Path:
    """The published schema, as shipped in the package."""
    return Path(__file__).with_name("schedule.schema.json")


def as_schedule_file(plan: ExportPlan) -> ScheduleFile:
    """A plan as the contents of ``schedule.json``."""
    ratio = plan.schedule.upsampling_ratio()
    return ScheduleFile(
        tokens=plan.tokens,
        tokens_requested=plan.requested,
        sequence_length=plan.sequence_length,
        target=plan.target,
        upsample_fraction=plan.schedule.upsample_fraction,
        upsampling_ratio={n: None if r == float("inf") else r for n, r in ratio.items()},
        exposure=dict(plan.schedule.exposure()),
        learning_rate=plan.schedule.learning_rate,
        of_trials=plan.of_trials,
        phases=tuple(
            _phase(phase, entry)
            for phase, entry in zip(plan.schedule.phases, phase_rows(plan), strict=True)
        ),
        domains={name: _domain(plan, name) for name in plan.schedule.domains},
        provenance=_provenance(plan),
    )


def _phase(phase: Phase, entry: dict[str, Any]) -> PhaseEntry:
    kept = PhaseDomain.model_fields
    domains = {
        name: PhaseDomain(**{k: v for k, v in row.items() if k in kept})
        for name, row in entry["domains"].items()
    }
    return PhaseEntry(
        name=phase.name,
        fraction=phase.fraction,
        mixture=dict(phase.mixture),
        tokens=entry["tokens"],
        start=entry["start"],
        domains=domains,
        learning_rate=phase.learning_rate,
    )


def _domain(plan: ExportPlan, name: str) -> DomainEntry:
    tokens = plan.drawn(name)
    return DomainEntry(
        tokens=tokens,
        available=plan.supply.get(name),
        epochs=plan.epochs(name, tokens),
        path=plan.paths.get(name),
        fingerprint=plan.provenance.corpus_fingerprints.get(name),
    )


def _provenance(plan: ExportPlan) -> ProvenanceEntry:
    known = {name: getattr(plan.provenance, name) for name in ProvenanceEntry.model_fields}
    return ProvenanceEntry(**known)


def write(plan: ExportPlan) -> Written:
    """``schedule.json``."""
    data = as_schedule_file(plan).model_dump(mode="json")
    return Written({"schedule.json": json_text(data)})


def read_schedule_file(path: str | Path) -> ScheduleFile:
    """Read a whole ``schedule.json``.

    Raises:
        ExportError: If it cannot be read, is another format, a later version, or breaks the schema.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{path} cannot be read: {error}", "check the path") from None
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{path} is not JSON: {error}", "export the schedule again") from None
    found = data.get("format") if isinstance(data, dict) else None
    if found != FORMAT:
        raise ExportError(
            f"{path} must say format {FORMAT!r}; it says {shown(found)}",
            "give the schedule.json of `mixopt export --to schedule`",
        )
    if data.get("version") != VERSION:
        raise ExportError(
            f"{path} is version {data.get('version')!r} of the format; this mixopt reads {VERSION}",
            "read it with the mixopt that wrote it, or a later one",
        )
    try:
        return ScheduleFile(**data)
    except MixoptError as error:
        raise ExportError(f"{path}: {error.message}", error.hint) from None


def read_schedule(path: str | Path) -> Schedule:
    """The schedule of a ``schedule.json``.

    Raises:
        ExportError: If the file cannot be read as a schedule.
    """
    try:
        return read_schedule_file(path).schedule()
    except MixoptError as error:
        if isinstance(error, ExportError):
            raise
        raise ExportError(f"{path}: {error.message}", error.hint) from None


EXPORTER = Exporter(
    name="schedule",
    write=write,
    changes="one run",
    unit="tokens",
    loaded="mixopt itself, and its published JSON Schema",
    batch=False,
    length=False,
    paths=False,
)
