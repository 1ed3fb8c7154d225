"""Every trainer that schedules are written for, those of other packages among them.

A package adds its own by an entry point of the group ``mixopt.exporters`` that names an
``Exporter``; ``mixopt.testing`` has the suite it must pass.
"""

from __future__ import annotations

import difflib
from functools import cache
from importlib.metadata import entry_points

from mixopt.errors import ExportError
from mixopt.export import (
    energon,
    gpt_neox,
    huggingface,
    levanter,
    litdata,
    llama_factory,
    llm_foundry,
    maxtext,
    megatron,
    nanotron,
    olmo_core,
    schedule_file,
    torchdata,
)
from mixopt.export.exporter import Exporter

GROUP = "mixopt.exporters"

_OWN = (
    schedule_file.EXPORTER,
    megatron.EXPORTER,
    levanter.EXPORTER,
    olmo_core.EXPORTER,
    llm_foundry.EXPORTER,
    huggingface.EXPORTER,
    llama_factory.EXPORTER,
    maxtext.EXPORTER,
    nanotron.EXPORTER,
    torchdata.EXPORTER,
    litdata.EXPORTER,
    gpt_neox.EXPORTER,
    energon.EXPORTER,
)

#: The names of mixopt's own exporters.
EXPORTERS: tuple[str, ...] = tuple(e.name for e in _OWN)


@cache
def exporters() -> dict[str, Exporter]:
    """Name to exporter, mixopt's own first.

    Raises:
        ExportError: If an entry point cannot be loaded, or names something else.
    """
    found = {e.name: e for e in _OWN}
    for point in entry_points(group=GROUP):
        try:
            loaded = point.load()
        except Exception as error:  # A foreign package may raise anything when it is imported.
            raise ExportError(
                f"the exporter {point.name!r} of {point.value} cannot be loaded: {error}",
                "mend or remove the package that adds it",
            ) from error
        if not isinstance(loaded, Exporter):
            raise ExportError(
                f"the entry point {point.name!r} must name an Exporter; {point.value} is "
                f"{type(loaded).__name__}",
                "make it an instance of mixopt.export.Exporter",
            )
        found.setdefault(loaded.name, loaded)
    return found


def exporter_of(name: str) -> Exporter:
    """The exporter of a name or alias.

    Raises:
        ExportError: If there is none.
    """
    known = exporters()
    names = {alias: e for e in known.values() for alias in (e.name, *e.aliases)}
    if name in names:
        return names[name]
    close = difflib.get_close_matches(name, names, n=1)
    raise ExportError(
        f"there is no exporter {name!r}; there are: {', '.join(known)}",
        f"did you mean {names[close[0]].name!r}?" if close else "mixopt export --list says more",
    )
