"""A trainer's configuration as the baseline of a search space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mixopt.errors import ExportError
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
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ExportError(
            f"{path} is not a configuration of {exporter.name} that mixes data: "
            f"{type(error).__name__} {error}",
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


def count_megatron_tokens(prefix: str | Path) -> int | None:
    """Tokens of a Megatron prefix by its ``.idx``; None where there is none.

    The header (megatron/core/datasets/indexed_dataset.py) is a magic word, the version and the code
    of the token's type, then the counts of sequences and documents and each sequence's length.

    Raises:
        ExportError: If the file is there and is something else.
    """
    index = Path(f"{prefix}.idx")
    if not index.is_file():
        return None
    with index.open("rb") as file:
        head = file.read(34)
        if head[:9] != b"MMIDIDX\x00\x00" or len(head) < 34:
            raise ExportError(f"{index} is not an index of Megatron's", "check the prefix")
        sequences = int.from_bytes(head[18:26], "little")
        lengths = np.fromfile(file, dtype="<i4", count=sequences)
    return int(lengths.sum(dtype=np.int64))


def as_space(trainer: str, path: str | Path) -> dict[str, Any]:
    """A search space around a configuration, as plain data for a YAML file.

    Tokens are counted where the sources are Megatron's indexed files and are here.
    """
    found = import_baseline(trainer, path)
    paths: dict[str, str] = {}
    for phase in import_phases(trainer, path):
        paths |= phase.paths
    schedule = found if isinstance(found, Schedule) else Schedule.static(found)
    domains: dict[str, dict[str, Any]] = {}
    for name in schedule.domains:
        path_of = paths.get(name)
        tokens = None if path_of is None else count_megatron_tokens(path_of)
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
