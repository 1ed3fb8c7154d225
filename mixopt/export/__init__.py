"""Schedules as the files that trainers load: one module per trainer, pure functions."""

from __future__ import annotations

from mixopt.export.export_plan import ExportPlan, PhasePlan, Provenance, plan_export
from mixopt.export.schedule_file import (
    ScheduleFile,
    read_schedule,
    read_schedule_file,
    schedule_json_schema,
    schedule_schema_path,
)
from mixopt.export.tokens import token_report
from mixopt.export.writer import EXPORTERS, export, export_file, export_files, write_files

__all__ = [
    "EXPORTERS",
    "ExportPlan",
    "PhasePlan",
    "Provenance",
    "ScheduleFile",
    "export",
    "export_file",
    "export_files",
    "plan_export",
    "read_schedule",
    "read_schedule_file",
    "schedule_json_schema",
    "schedule_schema_path",
    "token_report",
    "write_files",
]
