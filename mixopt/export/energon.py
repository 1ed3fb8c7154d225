"""Megatron-Energon: a ``MetadatasetV2`` per phase.

A ``blend`` draws samples at random by weight and reads every dataset again and again;
``blend_epochized`` would count passes instead. Paths are relative to the file.
"""

from __future__ import annotations

from pathlib import Path

from mixopt.export.export_plan import ExportPlan
from mixopt.export.exporter import Exporter, ImportedPhase, Written
from mixopt.export.importing import read_yaml, weighted
from mixopt.export.texts import yaml_text


def write(plan: ExportPlan) -> Written:
    """A metadataset per phase."""
    files, commands = {}, []
    for phase in plan.phases:
        blend = [{"weight": w, "path": plan.paths[name]} for name, w in phase.weights().items()]
        name = f"energon_{phase.slug}.yaml"
        files[name] = yaml_text(
            {
                "__module__": "megatron.energon",
                "__class__": "MetadatasetV2",
                "splits": {"train": {"blend": blend}},
            },
            f"Phase {phase.name}: {phase.sequences} samples.",
        )
        commands.append(f"train on {name} for {phase.sequences} samples")
    return Written(files, (), tuple(commands), ON_RESUME, NOTES)


ON_RESUME = ("the loader's state belongs to its datasets; another metadataset starts anew",)
NOTES = (
    "weights count samples, so make them of one length",
    "the learning rate is the trainer's; the megatron export has its flags",
)


def read(path: Path) -> tuple[ImportedPhase, ...]:
    """The training blend of a metadataset."""
    blend = read_yaml(path)["splits"]["train"]["blend"]
    paths = {Path(part["path"]).name: part["path"] for part in blend}
    amounts = {Path(part["path"]).name: part.get("weight", 1.0) for part in blend}
    return (weighted(amounts, path, None, paths),)


EXPORTER = Exporter(
    name="energon",
    aliases=("megatron-energon",),
    write=write,
    changes="relaunch",
    unit="samples, drawn at random",
    loaded="megatron-energon 7.4.1 (blends)",
    exact=False,
    batch=False,
    read=read,
)
