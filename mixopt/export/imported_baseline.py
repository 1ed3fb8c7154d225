"""A trainer's configuration as the baseline of a search space."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mixopt.errors import ExportError, SpaceError
from mixopt.export.exporter import ImportedPhase
from mixopt.export.registry import exporter_of, exporters
from mixopt.space import Mixture, Phase, Schedule


def import_phases(trainer: str, path: str | Path) -> tuple[ImportedPhase, ...]:
    """What a trainer's configuration trains on.

    Args:
        trainer: The trainer's name or alias.
        path: Its configuration: a blend, a mixture file, a training configuration.

    Raises:
        ExportError: If configurations of this trainer cannot be read, or this one is not one.
    """
    exporter = exporter_of(trainer)
    if exporter.read is None:
        known = [name for name, e in exporters().items() if e.read]
        raise ExportError(
            f"configurations of {exporter.name} cannot be read", f"those of {known} can"
        )
    try:
        return exporter.read(Path(path))
    except SpaceError:
        raise
    except (OSError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        lacks = f": it lacks the key {error}" if isinstance(error, KeyError) else ""
        raise ExportError(
            f"{path} is not a configuration of {exporter.name} that mixes data{lacks}",
            "give the file that names the sources and their weights",
        ) from None


def import_baseline(trainer: str, path: str | Path) -> Mixture | Schedule:
    """The mixture of a configuration, or its schedule where it has several phases.

    Raises:
        ExportError: As ``import_phases``, or if the length of a phase is not said.
    """
    phases = import_phases(trainer, path)
    if len(phases) == 1:
        return phases[0].mixture
    spans = [p.length for p in phases]
    total = sum(n for n in spans if n is not None)
    if None in spans or not total:
        raise ExportError(
            f"{path} has {len(phases)} phases and does not say how long each is",
            "add the steps or tokens of the whole run to the configuration",
        )
    return Schedule(
        phases=tuple(
            Phase(name=f"phase{i}", fraction=(p.length or 0) / total, mixture=p.mixture)
            for i, p in enumerate(phases, 1)
        )
    )


def as_space(
    trainer: str, path: str | Path, count: Callable[[str], int | None] = lambda _path: None
) -> dict[str, Any]:
    """A search space around a configuration, as plain data for a YAML file.

    Args:
        trainer: The trainer's name or alias.
        path: Its configuration.
        count: Tokens of a source by its path; None where they are not known.
    """
    found = import_baseline(trainer, path)
    paths: dict[str, str] = {}
    for phase in import_phases(trainer, path):
        paths |= phase.paths
    schedule = found if isinstance(found, Schedule) else Schedule.static(found)
    domains: dict[str, dict[str, Any]] = {}
    for name in schedule.domains:
        path_of = paths.get(name)
        tokens = None if path_of is None else count(path_of)
        known = {"path": path_of, "tokens": tokens}
        domains[name] = {key: value for key, value in known.items() if value is not None}
    baseline = (
        dict(found)
        if isinstance(found, Mixture)
        else found.model_dump(mode="json", exclude_none=True)
    )
    phases = [{"name": p.name, "fraction": p.fraction} for p in schedule.phases[1:]]
    base = {"name": schedule.phases[0].name}
    return {"domains": domains, "phases": [base, *phases], "baseline": baseline}
