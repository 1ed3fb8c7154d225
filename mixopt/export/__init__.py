"""Schedules as the files that trainers load: one module per trainer, pure functions."""

from __future__ import annotations

from mixopt.export.export_plan import ExportPlan, PhasePlan, Provenance, plan_export
from mixopt.export.export_request import ExportRequest
from mixopt.export.exporter import Exporter, ImportedPhase, Written
from mixopt.export.imported_baseline import (
    as_space,
    import_baseline,
    import_phases,
)
from mixopt.export.rate_plan import RatePlan
from mixopt.export.registry import EXPORTERS, exporter_of, exporters
from mixopt.export.schedule_file import (
    ScheduleFile,
    read_schedule,
    read_schedule_file,
    schedule_json_schema,
    schedule_schema_path,
)
from mixopt.export.schedule_source import ScheduleSource, read_source
from mixopt.export.writer import export, export_file, export_files, export_source, write_files

__all__ = [
    "EXPORTERS",
    "ExportPlan",
    "ExportRequest",
    "Exporter",
    "ImportedPhase",
    "PhasePlan",
    "Provenance",
    "RatePlan",
    "ScheduleFile",
    "ScheduleSource",
    "Written",
    "as_space",
    "export",
    "export_file",
    "export_files",
    "export_source",
    "exporter_of",
    "exporters",
    "import_baseline",
    "import_phases",
    "plan_export",
    "read_schedule",
    "read_schedule_file",
    "read_source",
    "schedule_json_schema",
    "schedule_schema_path",
    "write_files",
]
